"""Sides that take turns, so that a machine which slows down slows all of them."""

from collections.abc import Callable, Mapping
from statistics import median


def medians(
    sides: Mapping[str, Callable[[], float]], repetitions: int, warm_up: int = 2
) -> dict[str, float]:
    """Median of what each side's calls return, in seconds, without its first `warm_up` ones."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(warm_up + repetitions):
        for name, side in sides.items():
            times[name].append(side())
    return {name: median(taken[warm_up:]) for name, taken in times.items()}
