"""DPS mix (Zhang et al., arXiv 2211.01642): DPS dense on a random mixture with the pretrained W0.

Stage I runs forward with W~ = W0 + n (W - W0) / (1 - p), n ~ Bernoulli(1 - p) per input column,
p = `frozen_fraction`; it sums up squared gradients and how often each column was there. Stage II
ranks the entries of each matrix by the sum over the count (and, in stages of 50 steps or more, by
rarity), keeps the upper 1 - p of them as a fixed n, and mixes with a copy of W from its start.

As in the released code the gradient of an entry is multiplied by n without 1 / (1 - p), the fresh
head is mixed with its random start, and dropout is 0; see `dps_dense` for the other keys.

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

_RARITY_FROM = 50  # steps of a stage


@dataclass(kw_only=True)
class DPSMix(Stages, Method):
    """Fine-tuning on mixtures with W0, and then of the entries that were most active in them."""

    neutral: ClassVar[dict[str, Any] | None] = {"frozen_fraction": 0.0, "dropout": None}

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        import torch

        names = self.matrices(model, runner)
        start = {name: model.get_parameter(name).detach().clone() for name in names}
        self._pretrained = start
        self._target = dict(start)
        self._activity = {name: torch.zeros_like(w) for name, w in start.items()}
        self._presence = {name: torch.zeros_like(w[:1]) for name, w in start.items()}
        self._masks: dict[str, Tensor] = {}
        return model

    def loss(self, model: Module, batch: Batch, step: Step) -> Tensor:
        from torch.func import functional_call

        from agwm.numerics.masks import fallen_back

        if self.frozen_fraction == 0:
            return super().loss(model, batch, step)
        self._choose(model, step)
        weights = {
            name: fallen_back(
                model.get_parameter(name), target, self._masks[name], self.frozen_fraction
            )
            for name, target in self._target.items()
        }
        return functional_call(model, weights, kwargs=dict(batch)).loss

    def backward(
        self, model: Module, batch: Batch, step: Step, backward: Callable[[Tensor], None]
    ) -> Tensor:
        loss = super().backward(model, batch, step, backward)
        if self.frozen_fraction > 0 and not self.position(step)[0]:
            for name, activity in self._activity.items():
                gradient = model.get_parameter(name).grad
                if gradient is not None:
                    activity.addcmul_(gradient, gradient, value=1e-3)
                    self._presence[name] += self._masks[name]
        return loss

    def _choose(self, model: Module, step: Step) -> None:
        """Masks and targets of this step."""
        import torch

        from agwm.numerics.masks import largest

        length = self.stage_steps(step)
        second, first_of_stage = self.position(step)
        generator = None
        for name, activity in self._activity.items():
            presence = self._presence[name]
            if not second:
                if first_of_stage:
                    activity.zero_()
                    presence.zero_()
                    self._target[name] = self._pretrained[name]
                generator = generator or step.generator("dps", activity.device)
                self._masks[name] = torch.empty_like(presence).bernoulli_(
                    1 - self.frozen_fraction, generator=generator
                )
            elif first_of_stage:
                score = activity / presence.clamp_min(1)
                if length >= _RARITY_FROM:
                    score = score * torch.exp(-presence / length)
                chosen = largest([score], self.kept(score.numel()))[0]
                self._masks[name] = chosen.to(score.dtype)
                self._target[name] = model.get_parameter(name).detach().clone()
