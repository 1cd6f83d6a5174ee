"""Random alpha: attention parameters drawn once and never learned (the paper's section 4.7).

a1, a2 ~ N(1, alpha_init_std), clipped to [0, 1]; then plain fine-tuning of W. The product form
shrinks the start model (by 0.4, 7.7 and 29 % for 0.005, 0.1 and 0.45), so that "a random
sub-network" and "a damaged start" are one thing there; the convex form is the control.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.method import Method, Runner
from agwm.mixture import Mixture

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class RandomAlpha(Mixture, Method):
    """Fine-tuning of a mixed model whose alpha is drawn and kept."""

    neutral: ClassVar[dict[str, Any] | None] = {"alpha_init_std": 0.0}

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.models.mixed import fix_alpha

        return fix_alpha(self.mixed(model, runner))
