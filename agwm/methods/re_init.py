"""Re-initialization of the top layers (Zhang et al., arXiv 2006.05987), AdamW bias-corrected.

Before fine-tuning the pooler and the top `layers` blocks are drawn anew, matrices from N(0, std^2)
with the model's own `initializer_range`, biases 0, norms 1: what the pretraining task has left
there is in the way. Of an encoder-decoder the decoder's blocks are the top.

The released code trains with batch 32 and without decay, and reports the better half of the dev
set; here recipe and protocol are those of all methods.

One forward and one backward pass a step.
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
class ReInit(Method):
    """Fine-tuning from a model whose top is random."""

    neutral: ClassVar[dict[str, Any] | None] = {"layers": 0, "pooler": False}

    layers: int
    pooler: bool

    def __post_init__(self) -> None:
        require(self.layers >= 0, "method.layers", self.layers, ">= 0")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.layers import redraw_top

        pooler = runner.fresh if self.pooler else None
        redraw_top(model, self.layers, pooler, runner.stream("re_init"))
        return model
