"""Top-K-layer fine-tuning (Houlsby et al., arXiv 1902.00751): the bottom of the model is frozen.

Trained are the top `layers` blocks with their biases and norms, the pooler and the head; frozen
are the embeddings, the blocks below and what else belongs to the body. Of an encoder-decoder the
decoder's blocks are the top, then the encoder's. Dropout stays on in frozen blocks, as in vanilla;
`frozen_eval: true` turns it off there.

One forward pass a step, and a backward pass through the top alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Runner

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class TopKLayers(Method):
    """Fine-tuning of the top blocks, the pooler and the head."""

    neutral: ClassVar[dict[str, Any] | None] = {"layers": None, "embeddings": True}

    layers: int | None
    embeddings: bool
    frozen_eval: bool

    def __post_init__(self) -> None:
        valid = self.layers is None or self.layers >= 0
        require(valid, "method.layers", self.layers, ">= 0 or null")
        valid = not self.embeddings or self.layers is None
        require(valid, "method.embeddings", self.embeddings, "false unless method.layers=null")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.layers import set_dropout, top

        trained = top(model, self.layers, runner.fresh)
        if self.embeddings:
            return model
        model.base_model.requires_grad_(False)
        if self.frozen_eval:
            set_dropout(model.base_model, 0.0, keep=trained)
        for module in trained:
            module.requires_grad_(True)
        for name, parameter in model.named_parameters():
            if name in runner.fresh:
                parameter.requires_grad_(True)
        return model
