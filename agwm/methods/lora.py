"""LoRA (Hu et al., arXiv 2106.09685), by the PEFT library: W + (alpha / r) B A, with W frozen.

Trained are A and B of the target layers, and the head. PEFT's own targets are the query and value
projections; XLNet's are raw parameters, so that there the feed-forward layers are the targets. At
the end the adapters are merged: the exported model is an ordinary one.

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agwm.adapter import Adapter
from agwm.errors import UserError, require
from agwm.method import Method, Runner

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

# Queries and values, where they are linear layers.
_NOT_IN_PEFT = {
    "albert": ["query", "value"],
    "distilbert": ["q_lin", "v_lin"],
    "modernbert": ["Wqkv"],
    "xlnet": ["layer_1", "layer_2"],
}


@dataclass(kw_only=True)
class LoRA(Adapter, Method):
    """Training of low-rank adapters and the head."""

    rank: int
    alpha: float
    dropout: float
    targets: list[str] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.rank >= 1, "method.rank", self.rank, ">= 1")
        require(0 < self.alpha < math.inf, "method.alpha", self.alpha, "a number > 0")
        require(0 <= self.dropout < 1, "method.dropout", self.dropout, "in [0, 1)")
        require(self.targets != [], "method.targets", self.targets, "null or names of layers")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from peft import LoraConfig
        from torch.nn import Linear

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
        try:
            return self.adapted(model, runner, config)
        except ValueError as error:
            if self.targets is not None:
                raise
            kind, layers = model.config.model_type, ", ".join(sorted(linear))
            reason = f"PEFT has no targets for {kind}; give some of {layers}"
            raise UserError(f"method.targets={self.targets}: {reason}") from error

    def merge(self, model: Module) -> Module:
        return model.merge_and_unload()
