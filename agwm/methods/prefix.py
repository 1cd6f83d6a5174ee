"""Prefix tuning (Li and Liang, arXiv 2101.00190), by the PEFT library.

Each layer attends to `tokens` learned key-value pairs in front of the text; they and the head are
trained, the model is frozen. BERT's position ids begin behind the prefix. A model that takes no
`past_key_values` is refused.

The result cannot be merged: `model/` holds `base/` and `adapter/` (README, "A run's directory").

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agwm.adapter import Adapter
from agwm.errors import require
from agwm.method import Method, Runner

if TYPE_CHECKING:
    from pathlib import Path

    from torch.nn import Module
    from transformers import PreTrainedModel

    from agwm.models.pretrained import Pretrained


@dataclass(kw_only=True)
class Prefix(Adapter, Method):
    """Training of key-value pairs and the head."""

    tokens: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tokens >= 1, "method.tokens", self.tokens, ">= 1")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from peft import PrefixTuningConfig

        from agwm.models.adapters import require_inputs, require_room

        require_inputs(model, self.name, "past_key_values")
        require_room(model, self.tokens, runner.optim.max_length)
        return self.adapted(model, runner, PrefixTuningConfig(num_virtual_tokens=self.tokens))

    def save(self, model: Module, loaded: Pretrained, folder: Path) -> None:
        from agwm.models.adapters import save_adapter

        save_adapter(model, loaded, folder)
