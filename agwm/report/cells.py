"""Cells: the runs of one method on one task, or the paper's summary of such runs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev

from agwm.report.predictions import is_degenerate
from agwm.report.records import CellKey, Records, Run


@dataclass(frozen=True)
class Cell:
    """What a row of a table is made from; `runs` is empty for a published cell."""

    key: CellKey
    mean: float | None  # percent; None if no run is ok
    std: float | None  # ddof 1; None below two runs
    count: int
    runs: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    missing_seeds: tuple[int, ...] = ()
    degenerate: dict[int, bool | None] = field(default_factory=dict)  # by seed

    @property
    def values(self) -> dict[int, float]:
        """Headline in percent by seed."""
        return {run.seed: run.value for run in self.runs}

    @property
    def degenerate_count(self) -> int | None:
        """Runs that predict the same for every text; None if that is not known of each."""
        if any(flag is None for flag in self.degenerate.values()):
            return None
        return sum(self.degenerate.values())


@dataclass(frozen=True)
class Block:
    """Methods on the same tasks, with one model and one number of examples."""

    model: str
    n_train: int | None
    methods: list[str]
    tasks: list[str]
    cells: dict[tuple[str, str], Cell]  # by (method, task)

    def complete(self, method: str) -> bool:
        """Whether `method` has a mean on all tasks of the block."""
        found = [self.cells.get((method, task)) for task in self.tasks]
        return all(cell is not None and cell.mean is not None for cell in found)

    def average(self, method: str) -> tuple[float, float | None] | None:
        """Mean of the tasks' means and mean of their standard deviations, as the paper has it.

        None unless the method has all tasks, for else it averages something different.
        """
        if not self.complete(method):
            return None
        cells = [self.cells[method, task] for task in self.tasks]
        stds = [cell.std for cell in cells]
        known = None if None in stds else fmean(stds)
        return fmean(cell.mean for cell in cells), known

    def average_by_seed(self, method: str) -> dict[int, float]:
        """Average over the tasks at each seed that all tasks have; empty unless complete."""
        if not self.complete(method):
            return {}
        values = [self.cells[method, task].values for task in self.tasks]
        common = sorted(set.intersection(*map(set, values)))
        return {seed: fmean(of_task[seed] for of_task in values) for seed in common}


def summarize(values: Iterable[float]) -> tuple[float | None, float | None]:
    """Mean and standard deviation with ddof 1, None where undefined."""
    values = list(values)
    return fmean(values) if values else None, stdev(values) if len(values) > 1 else None


def make_cells(records: Records) -> list[Cell]:
    """Cells of checked `records`, ordered by model, examples, method and task."""
    ok, failed = _by_cell(records.ok), _by_cell(records.failed)
    seeds: dict[tuple, set[int]] = defaultdict(set)
    for run in [*records.ok, *records.failed]:
        seeds[run.cell._replace(method="")].add(run.seed)
    cells = []
    for key in sorted({*ok, *failed}, key=_order):
        runs = tuple(sorted(ok.get(key, ()), key=lambda run: run.seed))
        mean, std = summarize(run.value for run in runs)
        missing = seeds[key._replace(method="")] - {run.seed for run in runs}
        flags = {run.seed: is_degenerate(run) for run in runs}
        cells.append(
            Cell(
                key,
                mean,
                std,
                len(runs),
                runs,
                tuple(failed.get(key, ())),
                tuple(sorted(missing)),
                flags,
            )
        )
    return cells


def make_blocks(cells: Iterable[Cell], first: str | None = None) -> list[Block]:
    """Cells with a mean, by (model, n_train), in their order; method `first` leads its block."""
    grouped: dict[tuple[str, int | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        if cell.mean is not None:
            grouped[cell.key.model, cell.key.n_train].append(cell)
    blocks = []
    for (model, n_train), members in grouped.items():
        methods = list(dict.fromkeys(cell.key.method for cell in members))
        methods.sort(key=lambda method: method != first)
        tasks = list(dict.fromkeys(cell.key.task for cell in members))
        found = {(cell.key.method, cell.key.task): cell for cell in members}
        blocks.append(Block(model, n_train, methods, tasks, found))
    return blocks


def _by_cell(runs: Iterable[Run]) -> dict[CellKey, list[Run]]:
    grouped: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run.cell].append(run)
    return grouped


def _order(key: CellKey) -> tuple:
    # All the data comes after any number of examples.
    return key.model, key.n_train is None, key.n_train or 0, key.method, key.task
