"""Child-Tuning_F (Xu et al., arXiv 2109.05687): a random child network at every step.

After clipping, the gradient of every entry, head and biases included, is kept with probability
`child_fraction` and divided by it, before Adam's moments. Adam's normalization cancels the
division; an entry that is masked now still moves by its momentum.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Step

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(kw_only=True)
class ChildTuningF(Method):
    """Fine-tuning with gradients masked at random."""

    neutral: ClassVar[dict[str, Any] | None] = {"child_fraction": 1.0}

    child_fraction: float

    def __post_init__(self) -> None:
        fraction = self.child_fraction
        require(0 < fraction <= 1, "method.child_fraction", fraction, "in (0, 1]")

    def before_step(self, model: Module, step: Step) -> None:
        import torch

        generator = step.generator("child", next(model.parameters()).device)
        for parameter in model.parameters():
            if parameter.grad is not None:
                drawn = torch.rand(parameter.shape, generator=generator, device=generator.device)
                parameter.grad.mul_(drawn < self.child_fraction).div_(self.child_fraction)
