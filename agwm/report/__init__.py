"""Records of runs in, tables, tests and plots out."""
