"""Cells: the runs of one method on one task, or the paper's summary of such runs."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import fmean, stdev

from agwm.report.predictions import is_degenerate
from agwm.report.records import CellKey, Records, Run
from agwm.results.record import COLLAPSED

AVERAGE = "average"  # in the place of a task


@dataclass(frozen=True)
class Cell:
    """What a row of a table is made from; a published cell and an average have no `runs`."""

    key: CellKey
    mean: float | None  # percent; None if no run is ok
    std: float | None  # ddof 1; None below two runs
    count: int
    values: dict[int, float] = field(default_factory=dict)  # headline in percent by seed
    runs: tuple[Run, ...] = ()
    failed: tuple[Run, ...] = ()
    missing_seeds: tuple[int, ...] = ()
    degenerate: dict[int, bool | None] = field(default_factory=dict)  # by seed

    @property
    def degenerate_count(self) -> int | None:
        """Runs that predict the same for every text; None if that is not known of each."""
        if any(flag is None for flag in self.degenerate.values()):
            return None
        return sum(self.degenerate.values())

    @property
    def collapsed_count(self) -> int | None:
        """Runs whose alpha ended at one bound throughout; None if nothing is mixed, or unknown."""
        mixtures = [run.get("mixture") for run in self.runs]
        return None if None in mixtures else sum(mixture in COLLAPSED for mixture in mixtures)


@dataclass(frozen=True)
class Block:
    """Methods with one model and one number of examples.

    A method has a cell for `AVERAGE` if it has one for each of `tasks`: averages over fewer
    tasks could not be compared.
    """

    model: str
    n_train: int | None
    methods: list[str]
    tasks: list[str]  # of all blocks; this one may lack some
    cells: dict[tuple[str, str], Cell]  # by (method, task)

    @property
    def columns(self) -> list[str]:
        """The tasks, and their average where there are several."""
        return [*self.tasks, AVERAGE] if len(self.tasks) > 1 else self.tasks


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
                {run.seed: run.value for run in runs},
                runs,
                tuple(failed.get(key, ())),
                tuple(sorted(missing)),
                flags,
            )
        )
    return cells


def make_blocks(cells: Iterable[Cell], first: str | None = None) -> list[Block]:
    """Cells with a mean, by (model, n_train), in their order; method `first` leads its block."""
    cells = [cell for cell in cells if cell.mean is not None]
    tasks = list(dict.fromkeys(cell.key.task for cell in cells))
    grouped: dict[tuple[str, int | None], list[Cell]] = defaultdict(list)
    for cell in cells:
        grouped[cell.key.model, cell.key.n_train].append(cell)
    blocks = []
    for (model, n_train), members in grouped.items():
        methods = list(dict.fromkeys(cell.key.method for cell in members))
        methods.sort(key=lambda method: method != first)
        found = {(cell.key.method, cell.key.task): cell for cell in members}
        for method in methods:
            if all((method, task) in found for task in tasks):
                found[method, AVERAGE] = _average([found[method, task] for task in tasks])
        blocks.append(Block(model, n_train, methods, tasks, found))
    return blocks


def _average(cells: list[Cell]) -> Cell:
    """Mean of the tasks' means and mean of their standard deviations, as the paper has it.

    The values are averages over the tasks at each seed that all of them have.
    """
    stds = [cell.std for cell in cells]
    return Cell(
        cells[0].key._replace(task=AVERAGE),
        fmean(cell.mean for cell in cells),
        None if None in stds else fmean(stds),
        min(cell.count for cell in cells),
        {
            seed: fmean(cell.values[seed] for cell in cells)
            for seed in cells[0].values
            if all(seed in cell.values for cell in cells)
        },
    )


def _by_cell(runs: Iterable[Run]) -> dict[CellKey, list[Run]]:
    grouped: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        grouped[run.cell].append(run)
    return grouped


def _order(key: CellKey) -> tuple:
    # All the data comes after any number of examples.
    return key.model, key.n_train is None, key.n_train or 0, key.method, key.task
