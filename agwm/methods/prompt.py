"""Prompt tuning (Lester et al., arXiv 2104.08691), by the PEFT library.

`tokens` learned embeddings stand in front of the text; they and the head are trained, the model is
frozen. As in PEFT, a model that pools its first position pools the first of them. A model that
takes no `inputs_embeds` is refused.

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
class Prompt(Adapter, Method):
    """Training of input embeddings and the head."""

    tokens: int

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.tokens >= 1, "method.tokens", self.tokens, ">= 1")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from peft import PromptTuningConfig

        from agwm.models.adapters import require_inputs, require_room

        require_inputs(model, self.name, "inputs_embeds")
        require_room(model, self.tokens, runner.optim.max_length)
        config = PromptTuningConfig(
            num_virtual_tokens=self.tokens,
            # PEFT would take the hidden size, and does not know DistilBERT's names of the two.
            token_dim=model.get_input_embeddings().embedding_dim,
            num_attention_heads=model.config.num_attention_heads,
        )
        return self.adapted(model, runner, config)

    def save(self, model: Module, loaded: Pretrained, folder: Path) -> None:
        from agwm.models.adapters import save_adapter

        save_adapter(model, loaded, folder)
