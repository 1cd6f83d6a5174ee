"""What a sweep prints of its runs, before the first and after the last."""

import shlex
from collections import Counter, defaultdict
from pathlib import Path

from rich.table import Table

from agwm.console import PlainConsole
from agwm.results.record import read_record, written
from agwm.sweep.plan import PlannedRun

_STATES = ("finished", "skipped", "failed", "not run")


def print_plan(planned: list[PlannedRun]) -> None:
    """One line for each run that would be launched, then their number."""
    todo = [run for run in planned if not run.finished]
    for run in todo:
        print(run.folder)
    print(f"{len(todo)} of {len(planned)} runs to do, {len(planned) - len(todo)} finished already")


def print_outcome(planned: list[PlannedRun]) -> int:
    """Table of the sweep's cells by what the records say; returns how many runs have no result."""
    console = PlainConsole(soft_wrap=True)
    states = {run.folder: _state(run) for run in planned}
    total = Counter(state for state, _ in states.values())
    if total["skipped"] < len(planned):
        console.print(_table(states))
    for folder, (state, error) in states.items():
        if state == "failed":
            console.print(f"failed: {folder}: {error}")
    counts = ", ".join(f"{total[state]} {state}" for state in _STATES if total[state])
    console.print(f"{len(planned)} runs: {counts}")
    roots = sorted({str(Path(run.config.runs_dir, run.config.sweep)) for run in planned})
    console.print(f"the report: python -m agwm.report {shlex.join(roots)}")
    return total["failed"] + total["not run"]


def _state(run: PlannedRun) -> tuple[str, str]:
    if run.finished:
        return "skipped", ""
    record = read_record(run.folder)
    # A record that lay there before says nothing of this sweep.
    if record is None or written(run.folder) == run.record:
        return "not run", ""
    if record.get("status") == "ok":
        return "finished", ""
    return "failed", " ".join(str(record.get("error")).split())


def _table(states: dict[Path, tuple[str, str]]) -> Table:
    cells: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for folder, (state, _) in states.items():
        cells[folder.parts[-5:-1]][state] += 1
    table = Table(title="runs by cell", title_justify="left")
    for column in ("task", "model", "method", "n"):
        table.add_column(column, overflow="fold")
    for state in _STATES:
        table.add_column(state, justify="right")
    for (task, model, method, n_train), counts in cells.items():
        row = (task, model, method, n_train.removeprefix("n"))
        table.add_row(*row, *(str(counts[state] or "") for state in _STATES))
    return table
