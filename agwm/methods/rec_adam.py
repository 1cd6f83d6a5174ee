"""RecAdam (Chen et al., arXiv 2004.12651): from staying near the pretrained weights to the task.

With lambda(t) rising from 0 to 1, Adam's step is multiplied by lambda, and the moved weights are
pulled back by  theta -= lr (1 - lambda) gamma (theta - theta0). Both bypass Adam's moments. The
head, which has no theta0, follows AdamW.

The strength is given as `pull` = gamma * lr at the peak rate, which is what must stay below 1: the
paper's gamma of 5000 at its rate of 2e-5 is 0.1. Midpoint t0 and slope k of the sigmoid are
relative to the T steps of the run, t0 = `midpoint` T and k = `slope` / t0: at the released t0 of
250 a run of 57 steps would learn nothing. Start is the pretrained model; the released commands
start from random weights. Weight decay acts on the body only with `decay_body: true`, times lambda.

One forward and one backward pass a step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.config import Optim
from agwm.errors import require
from agwm.method import Method, Runner, Step

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel

ANNEALINGS = ("sigmoid", "linear", "constant")


@dataclass(kw_only=True)
class RecAdam(Method):
    """Fine-tuning by AdamW with an annealed pull towards the pretrained weights."""

    neutral: ClassVar[dict[str, Any] | None] = {"annealing": "constant", "decay_body": True}

    annealing: str
    midpoint: float
    slope: float
    pull: float
    decay_body: bool

    def __post_init__(self) -> None:
        allowed = "one of " + ", ".join(ANNEALINGS)
        require(self.annealing in ANNEALINGS, "method.annealing", self.annealing, allowed)
        require(0 < self.midpoint < math.inf, "method.midpoint", self.midpoint, "a number > 0")
        require(0 < self.slope < math.inf, "method.slope", self.slope, "a number > 0")
        # Above 1 the weights would leap over theta0.
        require(0 <= self.pull <= 1, "method.pull", self.pull, "in [0, 1]")

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        self._gamma = self.pull / runner.optim.lr if runner.optim.lr else 0.0
        self._start = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if name not in runner.fresh
        }
        return model

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        from agwm.numerics.optim import weight_groups

        decay = optim.weight_decay if self.decay_body else 0.0
        head = [name for name, _ in model.named_parameters() if name not in self._start]
        body = weight_groups(model, optim.lr, decay, self._start)
        for group in body:
            group["annealed"] = True
        rest = weight_groups(model, optim.lr, optim.weight_decay, head)
        # Vanilla's order, in which the norm to clip by is summed.
        return [body[0], rest[0], body[1], rest[1]]

    def task_share(self, step: Step) -> float:
        """lambda at this step, in [0, 1]."""
        t, midpoint = step.index + 1, self.midpoint * step.total
        if self.annealing == "constant":
            return 1.0
        if self.annealing == "linear":
            return min(1.0, t / midpoint)
        x = self.slope * (t - midpoint) / midpoint
        # Neither of the two exponentials can overflow.
        return math.exp(min(x, 0.0)) / (1 + math.exp(-abs(x)))

    def before_step(self, model: Module, step: Step) -> None:
        share = self.task_share(step)
        self._back = step.lr * self._gamma * (1 - share)
        for group in step.optimizer.param_groups:
            if group.get("annealed"):
                # The schedule sets it anew for the next step.
                group["lr"] *= share

    def after_step(self, model: Module, step: Step) -> None:
        if self._back:
            for name, start in self._start.items():
                model.get_parameter(name).data.lerp_(start, self._back)
