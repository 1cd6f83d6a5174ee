"""What a run has done so far and what it has cost, over all its starts."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from torch.nn import Module

from agwm.results.loggers import MetricsCsv
from agwm.results.record import Cost
from agwm.training.checkpoints import Checkpoints
from agwm.training.finetune import PassCounter
from agwm.training.progress import RunProgress

_LOG = logging.getLogger("agwm")


class Account:
    """Cost, phases and curves; what earlier starts have finished is taken over from checkpoints.

    Args:
        metrics: the curves.
        checkpoints: of the fits that an earlier start has finished, or was stopped in.
        progress: knows which fit of the plan is under way.
    """

    def __init__(
        self, metrics: MetricsCsv, checkpoints: Checkpoints, progress: RunProgress
    ) -> None:
        self.metrics = metrics
        self.checkpoints = checkpoints
        self.progress = progress
        self.cost = Cost()
        self.phases: list[dict[str, Any]] = []
        self._started = time.perf_counter()

    @contextmanager
    def counted(
        self, model: Module, name: str, epochs: int = 1
    ) -> Iterator[tuple[dict[str, Any], PassCounter]]:
        """Enter what happens inside: seconds, forward passes and the phase, which is given."""
        done = {"name": name, "steps": 0, "epochs": epochs, "seconds": 0.0}
        counter = PassCounter(model)
        try:
            yield done, counter
        finally:
            counter.close()
        done["seconds"] = counter.seconds
        self.cost.forward_passes += counter.forward
        self.cost.train_seconds += done["seconds"]
        self.phases.append(done)
        _LOG.info("%s: %d steps in %.1f s", name, done["steps"], done["seconds"])

    def keep(self, model: Module) -> None:
        """Checkpoint the fit that has just ended."""
        self.checkpoints.save(self.progress.index, model, self._so_far())

    def restored(self, model: Module) -> bool:
        """Whether the next fit was finished by an earlier start; `model` is as it left it then."""
        if (account := self.checkpoints.restore(self.progress.index + 1, model)) is None:
            return False
        self.progress.skip()
        self._take_over(account)
        _LOG.info("%s: taken from an earlier start", self.phases[-1]["name"])
        return True

    def pause(self, counter: PassCounter, state: dict[str, Any]) -> None:
        """Keep the fit under way as it is between two steps."""
        paused = {"forward": counter.forward, "seconds": counter.seconds, "state": state}
        self.checkpoints.pause(self.progress.index, paused | {"account": self._so_far()})

    def resumed(self, counter: PassCounter) -> dict[str, Any] | None:
        """State in which `pause` left the next fit; None if there is none."""
        paused = self.checkpoints.paused(self.progress.index + 1)
        if paused is None:
            return None
        self._take_over(paused["account"])
        counter.forward, counter.before = paused["forward"], paused["seconds"]
        step = paused["state"]["module"]["step"]
        _LOG.info("goes on behind step %d of an earlier start", step)
        return paused["state"]

    def _so_far(self) -> dict[str, Any]:
        """The fit under way left out, save for its curves."""
        cost = asdict(self.cost)
        cost["total_seconds"] += time.perf_counter() - self._started
        return {"cost": cost, "phases": self.phases, "metrics": self.metrics.text()}

    def _take_over(self, account: dict[str, Any]) -> None:
        vars(self.cost).update(account["cost"])
        self.phases[:] = account["phases"]
        self.metrics.restore(account["metrics"])
