"""Masks over the entries of weights: the largest ones, and weights that fall back by a mask."""

from collections.abc import Sequence

import torch
from torch import Tensor

_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def kth_largest(tensors: Sequence[Tensor], k: int) -> Tensor:
    """The k-th largest of all entries together, a scalar; k from 1.

    Exact. Of several tensors by bisection over the bit patterns, whose order is that of the numbers
    if none is negative: nothing is concatenated, a comparison at a time is all that is allocated.

    Args:
        tensors: float32 or float64, no entry negative or NaN.
        k: from 1 to the number of all entries.
    """
    if len(tensors) == 1 and tensors[0].device.type == "cpu":
        # Faster, but a GPU has no deterministic form of it.
        return tensors[0].detach().flatten().kthvalue(tensors[0].numel() - k + 1).values
    integer = _INTEGERS[tensors[0].dtype]
    patterns = [tensor.detach().view(integer) for tensor in tensors]
    low = torch.zeros((), dtype=torch.int64, device=patterns[0].device)
    high = torch.stack([pattern.max() for pattern in patterns]).max().long()
    for _ in range(31 if integer == torch.int32 else 63):
        middle = low + (high - low + 1) // 2
        at_least = sum((pattern >= middle).sum() for pattern in patterns)
        enough = at_least >= k
        low = torch.where(enough, middle, low)
        high = torch.where(enough, high, middle - 1)
    return low.to(integer).view(tensors[0].dtype)


def largest(tensors: Sequence[Tensor], keep: int) -> list[Tensor]:
    """Boolean masks of the `keep` largest entries of all tensors together.

    Ties with the last one are kept too. An entry of 0 is in a mask only if all entries are kept:
    a threshold of 0 would select everything.
    """
    if keep >= sum(tensor.numel() for tensor in tensors):
        return [torch.ones_like(tensor, dtype=torch.bool) for tensor in tensors]
    if keep <= 0:
        return [torch.zeros_like(tensor, dtype=torch.bool) for tensor in tensors]
    threshold = kth_largest(tensors, keep)
    return [(tensor >= threshold) & (tensor > 0) for tensor in tensors]


def fallen_back(weight: Tensor, start: Tensor, kept: Tensor, p: float) -> Tensor:
    """start + kept (weight - start) / (1 - p), whose gradient is `kept` without 1 / (1 - p).

    So do the released layers of Mixout and DPS; `kept` broadcasts to the weight's (out, in).
    """
    moved = (weight - start).detach() / (1 - p)
    return start + kept * (moved + (weight - weight.detach()))
