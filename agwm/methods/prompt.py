"""Prompt tuning (Lester et al., arXiv 2104.08691), by the PEFT library.

`tokens` learned embeddings stand in front of the text; they and the head are trained, the model is
frozen. As in PEFT, a model that pools its first position pools the first of them. A model that
takes no `inputs_embeds` is refused.

The result cannot be merged: `model/` holds `base/` and `adapter/` (README, "A run's directory").

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agwm.config import Optim, require
from agwm.method import Method, Phase, Runner

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module
    from transformers import PreTrainedModel

    from agwm.models.pretrained import Pretrained


@dataclass(kw_only=True)
class Prompt(Method):
    """Training of input embeddings and the head."""

    tokens: int
    lr: float
    epochs: int | None

    def __post_init__(self) -> None:
        require(self.tokens >= 1, "method.tokens", self.tokens, ">= 1")
        require(0 <= self.lr < math.inf, "method.lr", self.lr, "a number >= 0")
        valid = self.epochs is None or self.epochs >= 1
        require(valid, "method.epochs", self.epochs, ">= 1 or null")

    def plan(self) -> list[Phase]:
        return [Phase("finetune", epochs=self.epochs)]

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from peft import PromptTuningConfig

        from agwm.models.adapters import adapt, heads, require_inputs
        from agwm.numerics.rng import seeded

        require_inputs(model, self.name, "inputs_embeds")
        with seeded(runner.seed("adapter")):
            config = PromptTuningConfig(num_virtual_tokens=self.tokens)
            return adapt(model, config, heads(model, runner.fresh))

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        from agwm.numerics.optim import weight_groups

        return weight_groups(model, self.lr, optim.weight_decay)

    def save(self, model: Module, loaded: Pretrained, folder: Path) -> None:
        from agwm.models.adapters import save_adapter

        save_adapter(model, loaded, folder)
