"""What a sweep on this machine shows while it works: a live table, or lines without a terminal."""

import sys
from collections import defaultdict
from datetime import timedelta
from statistics import mean

from rich.live import Live
from rich.table import Table

from agwm.console import PlainConsole
from agwm.sweep.job import Job


class Overview:
    """Counts, running jobs with their last line, and the time left.

    Args:
        jobs: all of the sweep.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = list(jobs)
        self.console = PlainConsole(file=sys.stderr, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True)
        self.lengths: dict[str, list[float]] = defaultdict(list)  # seconds, by kind

    def __enter__(self) -> "Overview":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.live.stop()

    def started(self, job: Job) -> None:
        """A line for a log; the live table shows it anyway."""
        if not self.console.is_terminal:
            self.console.print(f"started: {job.label}")

    def ended(self, job: Job) -> None:
        """A line above the live table, with what the job said last if it failed."""
        if job.code == 0:
            self.lengths[job.kind].append(job.seconds)
        outcome = "done" if job.code == 0 else f"FAILED (exit code {job.code})"
        line = f"[{self._over()}/{len(self.jobs)}] {outcome} in {_clock(job.seconds)}: {job.label}"
        self.console.print(line)
        if job.code:
            told = [line for line in job.lines if line.startswith("error:")] or [*job.lines][-3:]
            self.console.print("\n".join(f"    {line}" for line in told))

    def _over(self) -> int:
        return sum(job.code is not None for job in self.jobs)

    def show(self, running: list[Job]) -> None:
        """Draw the live table anew."""
        if self.console.is_terminal:
            self.live.update(self._table(running), refresh=True)

    def _table(self, running: list[Job]) -> Table:
        failed = sum(bool(job.code) for job in self.jobs)
        table = Table(
            title=f"{self._over()} of {len(self.jobs)} runs over, {failed} failed, "
            f"{self._time_left(running)}",
            title_justify="left",
            box=None,
        )
        for column in ("run", "for", "now"):
            table.add_column(column, no_wrap=True, overflow="ellipsis")
        for job in running:
            now = job.lines[-1] if job.lines else "starting"
            table.add_row(job.label, _clock(job.elapsed), now)
        return table

    def _time_left(self, running: list[Job]) -> str:
        seconds = self.seconds_left(running)
        if seconds is None:
            return "time left not known yet"
        # Until a run of each kind has ended, those of the other kinds stand for it.
        known = all(job.kind in self.lengths for job in self.jobs if job.code is None)
        return f"{'about' if known else 'perhaps'} {_clock(seconds)} left"

    def seconds_left(self, running: list[Job]) -> float | None:
        """Estimate from the runs that are done, those of the same kind first; None without any."""
        known = {kind: mean(seconds) for kind, seconds in self.lengths.items()}
        if not known:
            return None
        other = mean(known.values())
        seconds = 0.0
        for job in self.jobs:
            if job.code is None:
                length = known.get(job.kind, other)
                seconds += max(0.0, length - job.elapsed) if job in running else length
        return seconds / max(1, len(running))


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
