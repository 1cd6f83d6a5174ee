"""What every mistake has to end in."""

import re


def assert_told(code, stderr, message, expected=2):
    """One line on stderr that has `message` in it, and no name of a Python exception."""
    assert code == expected, stderr
    assert stderr.startswith("error: ") and stderr.count("\n") == 1 and stderr[-1] == "\n", stderr
    assert message in stderr, stderr
    assert not re.match(r"error: \w+(Error|Exception)\b", stderr), stderr
