"""Gradients of several processes as those of one process with the joined batch.

Where a `torch.distributed` group of more than one process is initialised (`torchrun`), each process
works on its own share of every batch, and each gradient is averaged over the group as soon as it
exists. Shares must be of equal size: only then is the mean of their mean losses that of the joined
batch. A product of a second derivative with a vector that all processes share is linear in the
loss, so its mean is that of the joined batch. Processes that start from the same parameters stay
identical: every update, and every value that decides a branch, is averaged.

Without such a group nothing is done, and nothing is copied. Losses stay those of the share.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, distributed


@torch.no_grad()
def average(tensors: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Mean of each tensor over the default group; one collective call for each dtype and device.

    Without a group the tensors themselves. With one, new tensors without a graph; what was given
    stays as it is, for autograd gives the same tensor for two inputs at times.

    Args:
        tensors: floating, of the same shapes and in the same order in all processes; None, which
            is what a parameter gets that the loss does not reach, in all of them or in none.
    """
    found, processes = list(tensors), _processes()
    if processes == 1:
        return found
    kinds = [None if t is None else (t.dtype, t.device) for t in found]
    for kind in dict.fromkeys(k for k in kinds if k is not None):
        places = [place for place, own in enumerate(kinds) if own == kind]
        joined = torch.cat([found[place].flatten() for place in places])
        distributed.all_reduce(joined)
        joined /= processes  # gloo has no mean of its own
        parts = joined.split([found[place].numel() for place in places])
        for place, part in zip(places, parts, strict=True):
            found[place] = part.view(found[place].shape)
    return found


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """`average` of what `backward()` has left in `.grad`, put there instead."""
    if _processes() == 1:
        return
    parameters = list(parameters)
    averaged = average([parameter.grad for parameter in parameters])
    for parameter, grad in zip(parameters, averaged, strict=True):
        parameter.grad = grad


def _processes() -> int:
    """Of the default group; 1 where there is none."""
    grouped = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if grouped else 1
