"""R-Drop (Liang et al., arXiv 2106.14448): two passes under different dropout are to agree.

L = CE1 + CE2 + weight * (KL(p1 || p2) + KL(p2 || p1)) / 2, all of them means over the batch. On
regression MSE1 + MSE2 + weight * MSE(y1, y2), as in the released code, always a mean.

The released code sums the divergence over the batch instead (`kl_reduction: sum`), so that its
strength grows with the batch size; its recipe halves the two losses (`ce: mean`).

Two forward and two backward passes a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agwm.errors import require
from agwm.method import Batch, Method, Phase, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

REDUCTIONS = ("mean", "sum")


@dataclass(kw_only=True)
class RDrop(Method):
    """Fine-tuning with a penalty on what dropout changes."""

    weight: float
    kl_reduction: str
    ce: str

    def __post_init__(self) -> None:
        require(0 <= self.weight < math.inf, "method.weight", self.weight, "a number >= 0")
        for key in ("kl_reduction", "ce"):
            value = getattr(self, key)
            require(value in REDUCTIONS, f"method.{key}", value, "one of " + ", ".join(REDUCTIONS))

    def plan(self) -> list[Phase]:
        return [Phase("finetune", passes=2)]

    def loss(self, model: Module, batch: Batch, step: Step) -> Tensor:
        one, other = model(**batch), model(**batch)
        task = one.loss + other.loss
        if self.ce == "mean":
            task = task / 2
        return task + self.weight * self.disagreement(one.logits, other.logits)

    def disagreement(self, one: Tensor, other: Tensor) -> Tensor:
        """Half the symmetric divergence of two sets of logits (batch, classes); one class: MSE."""
        from agwm.numerics.divergence import symmetric_kl

        if one.shape[-1] == 1:
            return (one.float() - other.float()).square().mean()
        rows = symmetric_kl(one, other) / 2
        return rows.sum() if self.kl_reduction == "sum" else rows.mean()
