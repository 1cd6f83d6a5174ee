"""What the methods with PEFT's adapters share: their own rate and length, and virtual tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agwm.config import Optim
from agwm.errors import require
from agwm.method import Phase, Runner

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class Adapter:
    """A few new parameters want a higher rate than the whole model does, and more epochs."""

    lr_factor: float  # learning rate over the recipe's
    epochs: int | None

    def __post_init__(self) -> None:
        factor = self.lr_factor
        require(0 <= factor < math.inf, "method.lr_factor", factor, "a number >= 0")
        valid = self.epochs is None or self.epochs >= 1
        require(valid, "method.epochs", self.epochs, ">= 1 or null")

    def plan(self) -> list[Phase]:
        """One fit of `epochs`."""
        return [Phase("finetune", epochs=self.epochs)]

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        """Groups of what is trained, at the method's rate."""
        from agwm.numerics.optim import weight_groups

        return weight_groups(model, self.lr_factor * optim.lr, optim.weight_decay)

    def adapted(self, model: PreTrainedModel, runner: Runner, config: PeftConfig) -> Module:
        """`model` frozen, with adapters of `config` drawn from the stream ("adapter",)."""
        from agwm.models.adapters import adapt, heads
        from agwm.numerics.rng import seeded

        with seeded(runner.seed("adapter")):
            return adapt(model, config, heads(model, runner.fresh))
