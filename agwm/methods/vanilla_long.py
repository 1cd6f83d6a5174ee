"""Vanilla for longer (Mosbach et al., arXiv 2006.04884): a small rate, many epochs, Adam corrected.

Their recipe on small data: 20 epochs, linear warm-up over the first tenth, AdamW with bias
correction and eps 1e-6. They keep the best of three checkpoints an epoch; here the last one counts,
as for all methods.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Phase

if TYPE_CHECKING:
    from torch.optim import Optimizer


@dataclass(kw_only=True)
class VanillaLong(Method):
    """Plain fine-tuning for `epochs`, whatever the recipe's epochs are."""

    neutral: ClassVar[dict[str, Any] | None] = {"epochs": None, "eps": 1e-8}

    epochs: int | None
    eps: float

    def __post_init__(self) -> None:
        valid = self.epochs is None or self.epochs >= 1
        require(valid, "method.epochs", self.epochs, ">= 1 or null")
        require(0 < self.eps < 1, "method.eps", self.eps, "in (0, 1)")

    def plan(self) -> list[Phase]:
        return [Phase("finetune", epochs=self.epochs)]

    def build_optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        from agwm.numerics.optim import adamw

        return adamw(groups, self.eps)
