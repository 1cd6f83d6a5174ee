"""Vanilla with as many gradient evaluations as another run: the control for compute.

Plain fine-tuning is stretched, schedule and all, until it has taken as many forward and backward
passes as the plan of the method `matched` with its settings, `agwm` unless told otherwise. A gain
that is left over this is not one of more steps.

One forward and one backward pass a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agwm.errors import UserError, require
from agwm.method import Method, Phase, build_method


@dataclass(kw_only=True)
class VanillaMatched(Method):
    """Plain fine-tuning, as long as `matched`."""

    matched: dict[str, Any]  # a method's configuration

    def __post_init__(self) -> None:
        try:
            matched = build_method({**self.matched, "name": "matched"})
        except UserError as error:
            raise UserError(str(error).replace("method.", "method.matched.", 1)) from error
        self._phases = tuple(matched.plan())
        trains = bool(self._phases)
        require(trains, "method.matched", self.matched["_target_"], "a method that trains")

    def plan(self) -> list[Phase]:
        return [Phase("finetune", as_long_as=self._phases)]
