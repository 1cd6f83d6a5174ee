"""Whether a run would find what it needs; `python -m agwm.doctor`."""
