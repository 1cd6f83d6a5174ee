"""The cycles of DPS: stage I watches, stage II trains what was most active."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agwm.errors import require
from agwm.method import Runner, Step

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(kw_only=True)
class Stages:
    """Length of the stages, and what of each matrix is frozen in the second."""

    frozen_fraction: float
    update_ratio: float
    dropout: float | None
    official_steps: bool

    def __post_init__(self) -> None:
        frozen, ratio, dropout = self.frozen_fraction, self.update_ratio, self.dropout
        require(0 <= frozen < 1, "method.frozen_fraction", frozen, "in [0, 1)")
        require(0 < ratio <= 1, "method.update_ratio", ratio, "in (0, 1]")
        valid = dropout is None or 0 <= dropout < 1
        require(valid, "method.dropout", dropout, "in [0, 1) or null")

    def matrices(self, model: PreTrainedModel, runner: Runner) -> list[str]:
        """Set the dropout; names of the weights of all linear layers, the head's among them."""
        from torch.nn import Linear

        from agwm.models.layers import set_dropout

        if self.dropout is not None:
            set_dropout(model, self.dropout)
        self._epoch_steps = math.ceil(len(runner.labels) / runner.optim.batch_size)
        return [
            f"{name}.weight" for name, part in model.named_modules() if isinstance(part, Linear)
        ]

    def stage_steps(self, step: Step) -> int:
        """Steps of one stage."""
        total = self._epoch_steps if self.official_steps else step.total
        return max(1, int(total * self.update_ratio))

    def position(self, step: Step) -> tuple[bool, bool]:
        """Whether this step is in stage II, and whether it is the first one of its stage."""
        length = self.stage_steps(step)
        return (step.index // length) % 2 == 1, step.index % length == 0

    def kept(self, entries: int) -> int:
        """How many of the entries of a matrix stage II trains."""
        return math.ceil(round(entries * (1 - self.frozen_fraction), 6))
