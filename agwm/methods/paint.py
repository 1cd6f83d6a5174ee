"""PAINT / WiSE-FT (arXiv 2208.05592, 2109.01903): one mixing coefficient for all weights.

A vanilla run on 1 - `held_out` of the examples gives W; of the bodies W0 + c (W - W0), c on a grid
of `candidates` from 0 to `largest`, the one that does best on the held-out examples is chosen (the
task's metric, then the lower loss). The papers stop at 1; above it W0 has a negative weight. The
head is the fine-tuned one: W0 has none. With `refit`, a second run on all examples is mixed with
the c found; without, the first run is. `train.log` tells c.

One forward and one backward pass a step, two runs (one without `refit`), and `candidates` forward
passes over the held-out examples.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.errors import require
from agwm.method import Method, Phase, Runner

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module


@dataclass(kw_only=True)
class Paint(Method):
    """Fine-tuning, mixed with the pretrained weights by one number."""

    # One candidate, c = 1, leaves nothing to choose.
    neutral: ClassVar[dict[str, Any] | None] = {"candidates": 1}

    held_out: float
    candidates: int
    refit: bool
    largest: float = 1.0  # configurations of older runs do not have the key

    def __post_init__(self) -> None:
        require(0 < self.held_out < 1, "method.held_out", self.held_out, "inside (0, 1)")
        require(self.candidates >= 1, "method.candidates", self.candidates, ">= 1")
        valid = 0 < self.largest < math.inf
        require(valid, "method.largest", self.largest, "a number above 0")

    def plan(self) -> list[Phase]:
        whole = Phase("finetune")
        if self.candidates == 1:
            return [whole]
        part = Phase("fit on a part", share=1 - self.held_out, streams=("part",))
        return [part, whole] if self.refit else [part]

    def run(self, runner: Runner) -> Module:
        start = body(runner.pretrained(), runner.fresh)
        first, *second = self.plan()
        model, coefficient = self._fitted(runner, first), 1.0
        if self.candidates > 1:
            coefficient = self._chosen(model, start, runner)
            logging.getLogger("agwm").info("%s: c = %.3g", self.name, coefficient)
        for phase in second:
            model = self._fitted(runner, phase)
        mix(model, start, model.state_dict(), coefficient)
        return model

    def _fitted(self, runner: Runner, phase: Phase) -> Module:
        model = runner.pretrained()
        runner.finetune(model, self, phase)
        return model

    def _chosen(self, model: Module, start: dict[str, Tensor], runner: Runner) -> float:
        held_out = runner.held_out(1 - self.held_out)
        end = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        found = []
        for index in range(self.candidates):
            coefficient = self.largest * index / (self.candidates - 1)
            mix(model, start, end, coefficient)
            logits = runner.logits(model, held_out)
            score = runner.score(logits, held_out)
            loss = mean_loss(logits, [runner.labels[i] for i in held_out], runner.classes)
            # A metric that is undefined is worse than any.
            found.append((score if score == score else -2.0, -loss, coefficient))
        model.load_state_dict(end)
        return max(found)[2]


def body(model: Module, fresh: frozenset[str]) -> dict[str, Tensor]:
    """Copy of what the checkpoint gave `model`: all but the parameters that are `fresh`."""
    state = model.state_dict().items()
    return {name: tensor.clone() for name, tensor in state if name not in fresh}


def mix(
    model: Module, start: dict[str, Tensor], end: dict[str, Tensor], coefficient: float
) -> None:
    """Give `model` the weights start + coefficient (end - start), in place."""
    mixed = {
        name: tensor.lerp(end[name].to(tensor), coefficient)
        for name, tensor in start.items()
        if tensor.is_floating_point()
    }
    model.load_state_dict(mixed, strict=False)


def mean_loss(logits: Tensor, labels: list[Any], classes: int | None) -> float:
    """Cross-entropy, or the squared error where there are no classes."""
    import torch
    from torch.nn.functional import cross_entropy

    if classes is None:
        return (logits[:, 0] - torch.tensor(labels)).square().mean().item()
    return cross_entropy(logits, torch.tensor(labels)).item()
