"""How much hypothesis tries: little in `make test`, always the same; much in `make nightly`."""

import pytest
from hypothesis import HealthCheck, settings

_SECONDS = 60  # of one example, on a busy machine: what takes longer counts as a hang


def tried(few, many):
    """Parametrizes a test by `budget`, the settings of its property."""
    common = {
        "database": None,
        "deadline": 1000 * _SECONDS,
        "suppress_health_check": list(HealthCheck),
    }
    short = settings(max_examples=few, derandomize=True, **common)
    long = settings(max_examples=many, print_blob=True, **common)
    return pytest.mark.parametrize(
        "budget",
        [pytest.param(short, id="few"), pytest.param(long, id="many", marks=pytest.mark.nightly)],
    )
