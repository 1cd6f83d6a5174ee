"""Weight decay towards the pretrained weights (Daume III 2009; L2-SP, arXiv 1802.01483).

The matrices and embeddings of the body decay towards where they started instead of towards 0:
w -= lr * strength * (w - w0), before Adam's step (`form: decoupled`). `form: coupled` adds
strength * (w - w0) to the clipped gradient instead, which Adam then scales away. The head decays
to 0.

The released code excludes the head by a comparison that never holds; here it is excluded.

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agwm.config import Optim
from agwm.errors import UserError, require
from agwm.method import Method, Runner, Step

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

FORMS = ("decoupled", "coupled")


@dataclass(kw_only=True)
class PriorDecay(Method):
    """Fine-tuning whose decay leads back to the pretrained weights."""

    strength: float
    form: str

    def __post_init__(self) -> None:
        require(0 <= self.strength < math.inf, "method.strength", self.strength, "a number >= 0")
        require(self.form in FORMS, "method.form", self.form, "one of " + ", ".join(FORMS))

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        from agwm.numerics.optim import decayed

        factor = runner.optim.lr * self.strength
        if self.form == "decoupled" and factor > 1:
            # The weights would leap over their start.
            highest = f"at most {1 / runner.optim.lr:g} at optim.lr={runner.optim.lr}"
            raise UserError(f"method.strength={self.strength}: must be {highest}")
        self._start = {
            name: model.get_parameter(name).detach().clone()
            for name in decayed(model)
            if name not in runner.fresh
        }
        return model

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        from agwm.numerics.optim import weight_groups

        others = [name for name, _ in model.named_parameters() if name not in self._start]
        return [
            *weight_groups(model, optim.lr, 0.0, self._start),
            *weight_groups(model, optim.lr, optim.weight_decay, others),
        ]

    def before_step(self, model: Module, step: Step) -> None:
        for name, start in self._start.items():
            parameter = model.get_parameter(name)
            away = parameter.data - start
            if self.form == "coupled":
                if parameter.grad is not None:
                    parameter.grad.add_(away, alpha=self.strength)
            else:
                parameter.data.sub_(away, alpha=step.lr * self.strength)
