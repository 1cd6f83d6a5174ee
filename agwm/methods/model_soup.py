"""Uniform model soup (Wortsman et al., arXiv 2203.05482): the mean of M vanilla runs' weights.

All members see the same examples and the same pretrained body; head, batch order and dropout are
drawn anew for each (`shared_head: true` starts all from the run's head). The first member is the
vanilla run of the same seed.

One forward and one backward pass a step, M runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Phase, Runner

if TYPE_CHECKING:
    from torch.nn import Module


@dataclass(kw_only=True)
class ModelSoup(Method):
    """Mean of `members` fine-tuned models."""

    neutral: ClassVar[dict[str, Any] | None] = {"members": 1}

    members: int
    shared_head: bool

    def __post_init__(self) -> None:
        require(self.members >= 1, "method.members", self.members, ">= 1")

    def plan(self) -> list[Phase]:
        return [
            Phase(f"member {m + 1}/{self.members}", streams=("member", m) if m else ())
            for m in range(self.members)
        ]

    def run(self, runner: Runner) -> Module:
        from agwm.numerics.optim import RunningMean

        mean = RunningMean()
        for phase in self.plan():
            model = runner.pretrained(*(() if self.shared_head else phase.streams))
            runner.finetune(model, self, phase)
            mean.add(model.state_dict())
        model.load_state_dict(mean.mean)
        return model
