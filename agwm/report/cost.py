"""What the runs took, beside the baseline on the same task, model and number of examples."""

from collections.abc import Callable
from statistics import fmean, median

from agwm.report.cells import AVERAGE, Block, Cell
from agwm.report.records import Run
from agwm.report.table import Column, Table, n_train_text

Measure = Callable[[Run], float | None]


def train_seconds(run: Run) -> float | None:
    """Seconds of training, without loading and evaluation."""
    return run.get("cost", "train_seconds")


def passes(run: Run) -> float | None:
    """Forward and backward passes together."""
    forward, backward = run.get("cost", "forward_passes"), run.get("cost", "backward_passes")
    return None if forward is None or backward is None else forward + backward


def ratios(block: Block, method: str, baseline: str, measure: Measure) -> dict[str, float]:
    """Median of `measure` over that of the baseline, by task, where both are known."""
    found = {}
    for task in block.tasks:
        ours = typical(block.cells.get((method, task)), measure)
        theirs = typical(block.cells.get((baseline, task)), measure)
        if ours is not None and theirs:
            found[task] = ours / theirs
    return found


def average_ratio(block: Block, found: dict[str, float]) -> float | None:
    """Mean of `ratios` over the tasks; None unless all of them are known."""
    return fmean(found.values()) if found.keys() == set(block.tasks) else None


def typical(cell: Cell | None, measure: Measure) -> float | None:
    """Median of `measure` over a cell's runs; None if it is not known of each."""
    values = [measure(run) for run in cell.runs] if cell else []
    return None if not values or None in values else median(values)


def cost_table(blocks: list[Block], baseline: str) -> Table:
    """Medians over the runs of a cell, and ratios to the baseline."""
    columns = [
        Column("model"),
        Column("n"),
        Column("method"),
        Column("task"),
        Column("seconds", "decimal"),
        Column("x time", "ratio"),
        Column("x passes", "ratio"),
        Column("steps", "count"),
        Column("peak MiB", "count"),
        Column("device"),
    ]
    rows = []
    for block in blocks:
        for method in block.methods:
            time = ratios(block, method, baseline, train_seconds)
            work = ratios(block, method, baseline, passes)
            key = [block.model, n_train_text(block.n_train), method]
            for task in block.tasks:
                cell = block.cells.get((method, task))
                if cell:
                    rows.append([*key, task, *_values(cell, time.get(task), work.get(task))])
            means = [average_ratio(block, time), average_ratio(block, work)]
            if AVERAGE in block.columns and means != [None, None]:
                rows.append([*key, AVERAGE, None, *means, None, None, None])
    note = (
        f"Median over runs. x time, x passes: ratio to {baseline} on the same task, model and n; "
        "passes are forward and backward ones. Average: only where the ratios of all tasks of "
        "this report are known. Steps: of all optimizers. Memory: the largest "
        "peak, of the GPU where one was used, else of the process."
    )
    return Table("cost", "Cost", columns, rows, note, keys=4, blocks=2)


def _values(cell: Cell, time: float | None, work: float | None) -> list:
    steps = typical(cell, lambda run: run.get("cost", "optimizer_steps"))
    memory = [run.get("peak_memory_bytes") for run in cell.runs]
    return [
        typical(cell, train_seconds),
        time,
        work,
        None if steps is None else round(steps),
        None if None in memory else round(max(memory) / 2**20),
        "; ".join(sorted(devices(cell))) or None,
    ]


def devices(cell: Cell) -> set[str]:
    """Names of the devices that a cell's runs were made on."""
    return {run.get("device") for run in cell.runs} - {None}


def device_warnings(blocks: list[Block], baseline: str) -> list[str]:
    """One line for each block in which times of different devices are compared."""
    lines = []
    for block in blocks:
        found = set().union(*map(devices, block.cells.values()))
        if len(found) > 1 and baseline in block.methods:
            lines.append(
                f"{block.model}, n = {n_train_text(block.n_train)}: times were taken on "
                f"different devices ({'; '.join(sorted(found))}) and their ratios mean little"
            )
    return lines
