"""Randomness that depends on a seed alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


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


class DrawnOnce(TorchDispatchMode):
    """Remembers the dropout masks that are drawn under it on the CPU and gives them out again.

    A draw is a function of the generator's state, of the layout of what is filled and of p. Where
    all are as they were, the mask is copied and the generator put where the draw had left it:
    nothing changes but the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self._drawn: dict[tuple[Any, ...], tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, operation: Any, types: Any, inputs: tuple[Any, ...] = (), options: Any = None
    ) -> Any:
        options = options or {}
        if operation is not torch.ops.aten.bernoulli_.float or options or not inputs[0].is_cpu:
            return operation(*inputs, **options)
        filled, *p = inputs
        state = torch.get_rng_state().numpy().tobytes()
        key = (state, filled.shape, filled.stride(), filled.dtype, *p)
        if key in self._drawn:
            mask, after = self._drawn[key]
            torch.set_rng_state(after)
            return filled.copy_(mask)
        operation(*inputs)
        self._drawn[key] = filled.bool(), torch.get_rng_state()
        return filled
