"""Mixout (Lee et al., arXiv 1909.11299): dropout towards the pretrained weights.

In each forward pass, all weights that leave a randomly chosen input neuron are replaced by their
pretrained values:  W~ = W0 + n (W - W0) / (1 - p),  n ~ Bernoulli(1 - p) per column, E[W~] = W.
It takes the place of dropout. Evaluation uses W.

Here the gradient is that of the formula, and the fresh head, which has no pretrained weights, is
left alone and keeps its dropout. The released code mixes the head with its random start, and its
gradient lacks 1 / (1 - p); `official: true` does both.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Batch, Method, Runner, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class Mixout(Method):
    """Fine-tuning in which columns of weights fall back to W0 at random."""

    neutral: ClassVar[dict[str, Any] | None] = {"p": 0.0, "keep_dropout": True}

    p: float
    keep_dropout: bool
    official: bool

    def __post_init__(self) -> None:
        require(0 <= self.p <= 1, "method.p", self.p, "in [0, 1]")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.layers import set_dropout
        from agwm.models.mixed import pretrained_linears

        if not self.keep_dropout:
            set_dropout(model if self.official else model.base_model, 0.0)
        mixed = pretrained_linears(model, () if self.official else runner.fresh)
        self._start = {f"{name}.weight": module.weight.detach().clone() for name, module in mixed}
        return model

    def loss(self, model: Module, batch: Batch, step: Step) -> Tensor:
        from torch.func import functional_call

        if self.p == 0:
            return super().loss(model, batch, step)
        generator = step.generator("mixout", next(iter(self._start.values())).device)
        weights = dict(model.named_parameters())
        mixed = {
            name: self.mixed(weights[name], start, generator) for name, start in self._start.items()
        }
        return functional_call(model, mixed, kwargs=dict(batch)).loss

    def mixed(self, weight: Tensor, start: Tensor, generator: Any) -> Tensor:
        """W~ (out, in) for a mask drawn from `generator`."""
        import torch

        from agwm.numerics.masks import fallen_back

        if self.p == 1:
            # Without a gradient AdamW would pass the weight by, its decay included.
            return start + 0 * weight
        kept = torch.empty(1, weight.shape[1], dtype=weight.dtype, device=weight.device)
        kept.bernoulli_(1 - self.p, generator=generator)
        if not self.official:
            return start + kept * (weight - start) / (1 - self.p)
        return fallen_back(weight, start, kept, self.p)
