"""Randomness that depends on a seed alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Whatever torch draws inside comes from `seed`, on CPU and current GPU; the outer state stays.

    Two passes of the same shape under the same seed see the same dropout masks.
    """
    with replayed():
        torch.manual_seed(seed)
        yield


@contextmanager
def replayed() -> Iterator[None]:
    """What is drawn inside is drawn once more, the same, by what follows."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        yield
