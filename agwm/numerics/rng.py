"""Dropout masks that depend on a seed alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def dropout_masks(seed: int) -> Iterator[None]:
    """Draw the masks inside from `seed`, on CPU and current GPU; the outer state is untouched.

    Two passes of the same shape under the same seed see the same masks.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield
