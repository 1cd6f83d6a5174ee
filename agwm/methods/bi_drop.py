"""Bi-Drop (Tong et al., arXiv 2305.14760): train what several dropout sub-networks agree on.

`sub_networks` passes over a batch with different dropout give gradients g_i with mean mu. Of each
pretrained matrix the share `child_fraction` with the largest
    |mu| / sqrt(sum (g_i - mu)^2)  *  |mu| / |theta|
is updated with mu, the rest with 0; everything else is updated with mu as it is. Clipping follows.
Weight decay passes the masked entries by (`mask_decay: false` lets it act).

The authors released no code; defaults are ours where the paper is silent. Adam's momentum still
moves entries that are masked now.

`sub_networks` forward and backward passes a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Batch, Method, Phase, Runner, Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel

_TINY = 1e-12  # no variance without dropout, and parameters that are 0


@dataclass(kw_only=True)
class BiDrop(Method):
    """Fine-tuning of the entries whose gradients are stable under dropout, and large."""

    neutral: ClassVar[dict[str, Any] | None] = {"sub_networks": 1, "child_fraction": 1.0}

    sub_networks: int
    child_fraction: float
    mask_decay: bool

    def __post_init__(self) -> None:
        fraction = self.child_fraction
        require(self.sub_networks >= 1, "method.sub_networks", self.sub_networks, ">= 1")
        require(0 < fraction <= 1, "method.child_fraction", fraction, "in (0, 1]")

    def plan(self) -> list[Phase]:
        return [Phase("finetune", passes=self.sub_networks)]

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.mixed import pretrained_linears

        self._names = [f"{name}.weight" for name, _ in pretrained_linears(model, runner.fresh)]
        self._masks: dict[str, Tensor] = {}
        self._decayed: dict[str, Tensor] = {}
        return model

    def backward(
        self, model: Module, batch: Batch, step: Step, backward: Callable[[Tensor], None]
    ) -> Tensor:
        total, gradients = 0.0, []
        for _ in range(self.sub_networks):
            total = total + super().backward(model, batch, step, backward)
            gradients.append({n: p.grad for n, p in model.named_parameters()})
            model.zero_grad()
        for name, parameter in model.named_parameters():
            found = [g[name] for g in gradients if g[name] is not None]
            if found:
                parameter.grad = sum(found[1:], found[0]) / self.sub_networks
                if name in self._names:
                    self._masks[name] = child(found, parameter.detach(), self.child_fraction)
                    parameter.grad.mul_(self._masks[name])
        return total / self.sub_networks

    def before_step(self, model: Module, step: Step) -> None:
        if not self.mask_decay:
            return
        decay = step.optimizer.param_groups[0]["weight_decay"] * step.lr
        self._decayed = {
            name: decay * model.get_parameter(name).detach() * ~mask
            for name, mask in self._masks.items()
        }

    def after_step(self, model: Module, step: Step) -> None:
        for name, taken in self._decayed.items():
            model.get_parameter(name).data.add_(taken)


def child(gradients: list[Tensor], weight: Tensor, fraction: float) -> Tensor:
    """Mask of the entries of one matrix whose gradients agree and are large beside its weight."""
    import torch

    from agwm.numerics.masks import largest

    stacked = torch.stack(gradients)
    mean = stacked.mean(0)
    spread = (stacked - mean).square().sum(0).sqrt()
    score = mean.abs() / (spread + _TINY) * mean.abs() / (weight.abs() + _TINY)
    return largest([score], math.ceil(round(score.numel() * fraction, 6)))[0]
