"""Joint training: W and alpha by one loss on all examples (the paper's section 4.7).

The ablation that takes the bilevel part away: no split, no second order, no averaging. Both
gradients come from the same backward pass; alpha has its own learning rate and decay, and the
schedule of fine-tuning. The paper gives no details; epochs are those of fine-tuning.

With `refit` the W that was learned is dropped, and a second fine-tuning learns it from W0 with
alpha fixed: what `method=agwm` does with `average=alpha`, from one run and no split. Both see the
batches and the dropout that vanilla sees.

One forward and one backward pass a step; with `refit` two runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.config import Optim
from agwm.errors import require
from agwm.method import Method, Phase, Runner, Step
from agwm.mixture import Mixture

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class Joint(Mixture, Method):
    """Fine-tuning of a mixed model, alpha a parameter like others but for its learning rate."""

    neutral: ClassVar[dict[str, Any] | None] = {
        "alpha_init_std": 0.0,
        "alpha_lr": 0.0,
    }

    alpha_lr: float
    alpha_weight_decay: float
    refit: bool | None = None  # = false; configurations of older runs do not have the key

    def __post_init__(self) -> None:
        super().__post_init__()
        decay = self.alpha_weight_decay
        require(0 <= self.alpha_lr < math.inf, "method.alpha_lr", self.alpha_lr, "a number >= 0")
        require(0 <= decay < math.inf, "method.alpha_weight_decay", decay, "a number >= 0")

    def plan(self) -> list[Phase]:
        return [Phase("joint"), Phase("finetune")] if self.refit else super().plan()

    def run(self, runner: Runner) -> Module:
        from agwm.models.mixed import alpha_parameters

        plan = self.plan()
        model = self.prepare(runner.pretrained(), runner)
        runner.finetune(model, self, plan[0])
        if self.refit:
            model = self.fixed(runner, alpha_parameters(model))
            runner.finetune(model, self, plan[1])
        return model

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        return self.mixed(model, runner)

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        from agwm.models.mixed import alpha_parameters
        from agwm.numerics.optim import weight_groups

        alpha = {n: p for n, p in alpha_parameters(model).items() if p.requires_grad}
        if not alpha:  # fixed
            return super().parameter_groups(model, optim)
        weights = [name for name, _ in model.named_parameters() if name not in alpha]
        own = {
            "params": list(alpha.values()),
            "lr": self.alpha_lr,
            "weight_decay": self.alpha_weight_decay,
            "clipped": False,
        }
        return [*weight_groups(model, optim.lr, optim.weight_decay, weights), own]

    def after_step(self, model: Module, step: Step) -> None:
        from agwm.models.mixed import clamp_alpha

        clamp_alpha(model)
