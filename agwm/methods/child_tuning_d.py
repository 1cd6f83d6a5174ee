"""Child-Tuning_D (Xu et al., arXiv 2109.05687): train the entries that matter for the task.

Before training, one pass over the data gives the diagonal of the empirical Fisher information; the
largest `child_fraction` of its entries, over all blocks together, are the child. Each step, after
clipping, the gradients of all other entries of the blocks are set to 0, before Adam's moments and
without rescaling. Embeddings, pooler and head train freely.

As in the released code, and not in the paper: the Fisher is the squared gradient of a batch's mean
(`fisher: example` squares each example's), each tensor's gradient is clipped to norm 1 before
(`fisher_clip: null` does not), only blocks are masked (`scope: all` masks everything but the
head), and weight decay acts on masked entries too (`mask_decay: true` keeps them where they were).
An entry without any information is never in the child; theirs keeps all if the threshold is 0.
Warm-up is the recipe's; the released scheduler ignores its own.

One forward and one backward pass a step, and one of each over the data before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Phase, Runner, Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

FISHERS, SCOPES = ("batch", "example"), ("blocks", "all")


@dataclass(kw_only=True)
class ChildTuningD(Method):
    """Fine-tuning of a fixed set of entries, chosen by their Fisher information."""

    neutral: ClassVar[dict[str, Any] | None] = {"child_fraction": 1.0}

    child_fraction: float
    fisher: str
    fisher_clip: float | None
    scope: str
    mask_decay: bool

    def __post_init__(self) -> None:
        fraction, clip = self.child_fraction, self.fisher_clip
        require(0 <= fraction <= 1, "method.child_fraction", fraction, "in [0, 1]")
        require(clip is None or clip > 0, "method.fisher_clip", clip, "> 0 or null")
        for key, allowed in (("fisher", FISHERS), ("scope", SCOPES)):
            value = getattr(self, key)
            require(value in allowed, f"method.{key}", value, "one of " + ", ".join(allowed))

    def plan(self) -> list[Phase]:
        size = 1 if self.fisher == "example" else None
        fisher = Phase("fisher", epochs=1, streams=("fisher",), batch_size=size)
        return [fisher, Phase("finetune")]

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.layers import blocks
        from agwm.numerics.masks import largest

        names = {id(p): n for n, p in model.named_parameters()}
        masked = blocks(model) if self.scope == "blocks" else [model]
        parameters = {names[id(p)]: p for part in masked for p in part.parameters()}
        parameters = {n: p for n, p in parameters.items() if n not in runner.fresh}
        fisher = self._fisher(model, runner, parameters)
        count = sum(f.numel() for f in fisher)
        # The entries at or above the percentile 100 (1 - child_fraction), interpolated linearly.
        keep = count - math.ceil(round((count - 1) * (1 - self.child_fraction), 6))
        self._masks = dict(zip(parameters, largest(fisher, keep), strict=True))
        self._start = {}
        if self.mask_decay:
            self._start = {name: p.detach().clone() for name, p in parameters.items()}
        return model

    def _fisher(
        self, model: PreTrainedModel, runner: Runner, parameters: dict[str, Any]
    ) -> list[Tensor]:
        import torch

        batches = 0
        found = [torch.zeros_like(p) for p in parameters.values()]
        for _ in runner.gradients(model, self.plan()[0]):
            batches += 1
            for total, parameter in zip(found, parameters.values(), strict=True):
                if parameter.grad is not None:
                    if self.fisher_clip is not None:
                        torch.nn.utils.clip_grad_norm_(parameter, self.fisher_clip)
                    total.addcmul_(parameter.grad, parameter.grad)
        return [total / batches for total in found]

    def before_step(self, model: Module, step: Step) -> None:
        for name, parameter in model.named_parameters():
            if name in self._masks and parameter.grad is not None:
                parameter.grad.mul_(self._masks[name])

    def after_step(self, model: Module, step: Step) -> None:
        import torch

        for name, start in self._start.items():
            parameter = model.get_parameter(name)
            parameter.data.copy_(torch.where(self._masks[name], parameter.data, start))
