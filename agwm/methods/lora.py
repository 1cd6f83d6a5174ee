"""LoRA (Hu et al., arXiv 2106.09685), by the PEFT library: W + (alpha / r) B A, with W frozen.

Trained are A and B of the target layers, and the head. PEFT's own targets are the query and value
projections; XLNet's are raw parameters, so that there the feed-forward layers are the targets. At
the end the adapters are merged: the exported model is an ordinary one.

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agwm.config import Optim, require
from agwm.method import Method, Phase, Runner

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

_NOT_IN_PEFT = {"xlnet": ["layer_1", "layer_2"]}


@dataclass(kw_only=True)
class LoRA(Method):
    """Training of low-rank adapters and the head."""

    rank: int
    alpha: float
    dropout: float
    targets: list[str] | None
    lr: float
    epochs: int | None

    def __post_init__(self) -> None:
        require(self.rank >= 1, "method.rank", self.rank, ">= 1")
        require(0 < self.alpha < math.inf, "method.alpha", self.alpha, "a number > 0")
        require(0 <= self.dropout < 1, "method.dropout", self.dropout, "in [0, 1)")
        require(0 <= self.lr < math.inf, "method.lr", self.lr, "a number >= 0")
        valid = self.epochs is None or self.epochs >= 1
        require(valid, "method.epochs", self.epochs, ">= 1 or null")

    def plan(self) -> list[Phase]:
        return [Phase("finetune", epochs=self.epochs)]

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from peft import LoraConfig
        from torch.nn import Linear

        from agwm.models.adapters import adapt, heads
        from agwm.numerics.rng import seeded

        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=self.targets or _NOT_IN_PEFT.get(model.config.model_type),
        )
        linear = {
            name.rpartition(".")[2]
            for name, module in model.base_model.named_modules()
            if isinstance(module, Linear)
        }
        known = set(self.targets or ()) <= linear
        require(known, "method.targets", self.targets, "some of " + ", ".join(sorted(linear)))
        with seeded(runner.seed("adapter")):
            return adapt(model, config, heads(model, runner.fresh))

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        from agwm.numerics.optim import weight_groups

        return weight_groups(model, self.lr, optim.weight_decay)

    def merge(self, model: Module) -> Module:
        return model.merge_and_unload()
