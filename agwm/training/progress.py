"""One bar over a whole run: which fit it is in, and how long all of them still take."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from agwm.method import Phase


class RunProgress(Callback):
    """Advances with every step by the passes that the step costs.

    Args:
        phases: the plan, in order.
        steps: optimizer steps of each phase.
        shown: False prints nothing. Without a terminal there is a line per phase and no bar.
    """

    def __init__(self, phases: list[Phase], steps: list[int], shown: bool = True) -> None:
        self.plan = [
            (phase.name, count, phase.passes) for phase, count in zip(phases, steps, strict=True)
        ]
        self.index = -1
        self.started = 0.0
        self.shown = shown
        self.bar = Progress(
            TextColumn("{task.description:<12}"),
            TextColumn("step {task.fields[step]:>9}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            disable=not (shown and sys.stderr.isatty()),
            transient=True,
            speed_estimate_period=300,
        )
        total = sum(count * passes for _, count, passes in self.plan)
        self.task = self.bar.add_task("start", total=total, step="")

    def __enter__(self) -> "RunProgress":
        self.bar.start()
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.bar.stop()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        self.begin()

    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        self.advance(module.step)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        self.end()

    def begin(self) -> None:
        """The next phase of the plan starts."""
        self.index += 1
        self.started = time.perf_counter()

    def skip(self) -> None:
        """The next phase of the plan was finished by an earlier start of the run."""
        self.index += 1
        name, count, passes = self.plan[self.index]
        self.bar.update(self.task, advance=count * passes)
        self._say(f"{name}: done by an earlier start")

    def advance(self, step: int) -> None:
        """Step number `step` of the phase is done."""
        name, count, passes = self.plan[self.index]
        self.bar.update(self.task, advance=passes, description=name, step=f"{step}/{count}")

    def end(self) -> None:
        """The phase is over."""
        name, count, _ = self.plan[self.index]
        self._say(f"{name}: {count} steps in {time.perf_counter() - self.started:.1f} s")

    def _say(self, what: str) -> None:
        """A line where there is no bar."""
        if self.shown and self.bar.disable:
            left = len(self.plan) - self.index - 1
            print(f"{what}, {left} more to come", file=sys.stderr, flush=True)
