"""DPS dense (Zhang et al., arXiv 2211.01642): a child network that is chosen anew in cycles.

Training alternates between two stages of `update_ratio` of all steps each. Stage I trains
everything and sums up the squared gradients of each matrix; stage II trains only the entries of
each matrix whose sum is largest, all but `frozen_fraction` of them.

Values are the released code's: `frozen_fraction` is what its scripts call the reserved share, the
fresh head is masked too, and dropout is 0 (theirs is 0.1 again from 2000 steps on). An entry
without any activity is never trained in stage II, where theirs trains all if the threshold is 0.
Its low-resource scripts take the steps of one epoch for those of three (`official_steps: true`).
Frozen entries still move by Adam's momentum and by decay; `freeze_hard: true` keeps them, as the
paper can be read.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.method import Batch, Method, Runner, Step
from agwm.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class DPSDense(Stages, Method):
    """Fine-tuning whose second half of each cycle trains the most active entries."""

    neutral: ClassVar[dict[str, Any] | None] = {"frozen_fraction": 0.0, "dropout": None}

    freeze_hard: bool

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        import torch

        names = self.matrices(model, runner)
        self._activity = {name: torch.zeros_like(model.get_parameter(name)) for name in names}
        self._masks: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        return model

    def backward(
        self, model: Module, batch: Batch, step: Step, backward: Callable[[Tensor], None]
    ) -> Tensor:
        from agwm.numerics.masks import largest

        second, first_of_stage = self.position(step)
        loss = super().backward(model, batch, step, backward)
        for name, activity in self._activity.items():
            gradient = model.get_parameter(name).grad
            if gradient is None:
                continue
            if not second:
                if first_of_stage:
                    activity.zero_()
                activity.addcmul_(gradient, gradient, value=1e-3)
                self._masks.pop(name, None)
            else:
                if first_of_stage:
                    self._masks[name] = largest([activity], self.kept(activity.numel()))[0]
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
