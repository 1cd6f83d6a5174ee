"""DPS dense (Zhang et al., arXiv 2211.01642): a child network that is chosen anew in cycles.

Training alternates between two stages of `update_ratio` of all steps each. Stage I trains
everything and sums up the squared gradients of each matrix; stage II trains only the entries of
each matrix whose sum is largest, all but `frozen_fraction` of them.

Values are the released code's: `frozen_fraction` is what its scripts call the reserved share, the
fresh head is masked too, and dropout is 0. Its low-resource scripts take the steps of one epoch for
those of three (`official_steps: true`). Frozen entries still move by Adam's momentum and by decay;
`freeze_hard: true` keeps them, as the paper can be read.

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.config import require
from agwm.method import Batch, Method, Runner, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class DPSDense(Method):
    """Fine-tuning whose second half of each cycle trains the most active entries."""

    neutral: ClassVar[dict[str, Any] | None] = {"frozen_fraction": 0.0, "dropout": None}

    frozen_fraction: float
    update_ratio: float
    dropout: float | None
    official_steps: bool
    freeze_hard: bool

    def __post_init__(self) -> None:
        frozen, ratio, dropout = self.frozen_fraction, self.update_ratio, self.dropout
        require(0 <= frozen < 1, "method.frozen_fraction", frozen, "in [0, 1)")
        require(0 < ratio <= 1, "method.update_ratio", ratio, "in (0, 1]")
        valid = dropout is None or 0 <= dropout < 1
        require(valid, "method.dropout", dropout, "in [0, 1) or null")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        import torch
        from torch.nn import Linear

        from agwm.models.layers import set_dropout

        if self.dropout is not None:
            set_dropout(model, self.dropout)
        self._epoch_steps = -(-len(runner.labels) // runner.optim.batch_size)
        self._names = [
            f"{name}.weight" for name, part in model.named_modules() if isinstance(part, Linear)
        ]
        self._activity = {n: torch.zeros_like(model.get_parameter(n)) for n in self._names}
        self._masks: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        return model

    def position(self, step: Step) -> tuple[bool, bool]:
        """Whether this step is in stage II, and whether it is the first one of its stage."""
        total = self._epoch_steps if self.official_steps else step.total
        length = max(1, int(total * self.update_ratio))
        return (step.index // length) % 2 == 1, step.index % length == 0

    def backward(
        self, model: Module, batch: Batch, step: Step, backward: Callable[[Tensor], None]
    ) -> Tensor:
        from agwm.numerics.masks import largest

        second, first_of_stage = self.position(step)
        loss = super().backward(model, batch, step, backward)
        for name in self._names:
            gradient, activity = model.get_parameter(name).grad, self._activity[name]
            if gradient is None:
                continue
            if not second:
                if first_of_stage:
                    activity.zero_()
                activity.addcmul_(gradient, gradient, value=1e-3)
                self._masks.pop(name, None)
            else:
                if first_of_stage:
                    keep = math.ceil(round(activity.numel() * (1 - self.frozen_fraction), 6))
                    self._masks[name] = largest([activity], keep)[0]
                gradient.mul_(self._masks[name])
        return loss

    def before_step(self, model: Module, step: Step) -> None:
        if self.freeze_hard:
            self._before = {n: model.get_parameter(n).detach().clone() for n in self._masks}

    def after_step(self, model: Module, step: Step) -> None:
        import torch

        for name, before in self._before.items():
            parameter = model.get_parameter(name)
            parameter.data.copy_(torch.where(self._masks[name], parameter.data, before))
