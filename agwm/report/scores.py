"""Tables of quality: scores, what is behind each of them, and comparisons with the baseline."""

from collections.abc import Iterable

from agwm.report.cells import AVERAGE, Block, Cell
from agwm.report.records import CellKey
from agwm.report.statistics import Comparison, compare, holm, iqm, mean_interval
from agwm.report.table import Column, Table, n_train_text, seeds_text

Comparisons = dict[CellKey, Comparison]  # the task may be AVERAGE


def compare_with(baseline: str, blocks: Iterable[Block]) -> Comparisons:
    """Each method against `baseline` on each task, and on their average, that both have."""
    found = {}
    for block in blocks:
        for method in block.methods:
            if method == baseline:
                continue
            for task in block.columns:
                ours = block.cells.get((method, task))
                theirs = block.cells.get((baseline, task))
                if ours and theirs:
                    key = CellKey(block.model, block.n_train, method, task)
                    found[key] = compare(ours.values, theirs.values)
    return found


def is_gain(comparison: Comparison | None) -> bool:
    """Whether the 95 % interval of the paired difference lies above zero, and the t-test agrees.

    The interval alone is too short with few seeds; see `mean_interval`.
    """
    if comparison is None or comparison.interval is None or comparison.p_paired is None:
        return False
    return comparison.interval[0] > 0 and comparison.p_paired < 0.05


def scores_table(
    blocks: list[Block], comparisons: Comparisons, note: str, name="scores", title="Scores"
) -> Table:
    """Methods down, tasks and their average across; mean and standard deviation in percent."""
    tasks = blocks[0].columns if blocks else []
    columns = [Column("model"), Column("n"), Column("method")]
    columns += [Column(task, "spread") for task in tasks]
    table = Table(name, title, columns, [], note, keys=3, blocks=2)
    for block in blocks:
        for method in block.methods:
            found = [block.cells.get((method, task)) for task in tasks]
            row = [cell and (cell.mean, cell.std) for cell in found]
            for index, task in enumerate(tasks):
                key = CellKey(block.model, block.n_train, method, task)
                if is_gain(comparisons.get(key)):
                    table.bold.add((len(table.rows), table.keys + index))
            table.rows.append([block.model, n_train_text(block.n_train), method, *row])
    return table


def cells_table(cells: list[Cell]) -> Table:
    """What each mean is made of."""
    columns = [
        *_key_columns(),
        Column("runs", "count"),
        Column("mean", "percent"),
        Column("std", "percent"),
        Column("min", "percent"),
        Column("IQM", "percent"),
        Column("95 % interval", "interval"),
        Column("missing seeds"),
        Column("degenerate", "count"),
        Column("collapsed", "count"),
        Column("failed", "count"),
    ]
    rows = []
    for cell in cells:
        values = list(cell.values.values())
        rows.append(
            [
                *key_values(cell.key),
                cell.count,
                cell.mean,
                cell.std,
                min(values, default=None),
                iqm(values) if values else None,
                mean_interval(values) if values else None,
                seeds_text(cell.missing_seeds),
                cell.degenerate_count if values else None,
                cell.collapsed_count if values else None,
                len(cell.failed),
            ]
        )
    note = (
        "Percent. IQM: mean of the middle half of the runs. Interval: bootstrap of the mean. "
        "Missing seeds: run for another method of the same task, not finished here. "
        "Degenerate: runs that predict the same for every text. Collapsed: runs of a mixture whose "
        "alpha ended at 1 throughout, which leaves W alone, or at 0, which leaves W0."
    )
    return Table("cells", "Cells", columns, rows, note, keys=4, blocks=2)


def comparisons_table(comparisons: Comparisons, baseline: str) -> Table:
    """Differences from the baseline, with their tests."""
    adjusted = _holm_over_tasks(comparisons)
    columns = [
        *_key_columns(),
        Column("pairs", "count"),
        Column("difference", "difference"),
        Column("95 % interval", "interval"),
        Column("p paired t", "p"),
        Column("p Holm", "p"),
        Column("p Welch", "p"),
        Column("p sign flip", "p"),
        Column("p spread", "p"),
        Column("power", "ratio"),
        Column("seeds needed", "count"),
    ]
    table = Table("comparisons", f"Differences from {baseline}", columns, [], keys=4, blocks=2)
    for key, found in comparisons.items():
        if is_gain(found):
            table.bold.add((len(table.rows), 5))
        table.rows.append(
            [
                *key_values(key),
                found.seeds,
                found.difference,
                found.interval,
                found.p_paired,
                adjusted.get(key),
                found.p_welch,
                found.p_permutation,
                found.p_spread,
                found.power,
                found.seeds_needed,
            ]
        )
    table.note = (
        "Difference: mean over the seeds that both have, in points; interval by bootstrap; bold "
        "where it lies above zero and the paired t-test gives p < 0.05. Average: only where both "
        "have all tasks of this report. All tests are two-sided. "
        "Holm: paired t, over the tasks of a method. Welch: all runs of both sides, as in the "
        "paper. Sign flip: exact permutation of the paired differences. Spread: Brown-Forsythe. "
        "Power: of the paired t-test at the observed difference, level 0.05; seeds needed: for a "
        "power of 0.8."
    )
    return table


def key_values(key: CellKey) -> list[str | int]:
    """The four values that name a row."""
    return [key.model, n_train_text(key.n_train), key.method, key.task]


def _key_columns() -> list[Column]:
    return [Column("model"), Column("n"), Column("method"), Column("task")]


def _holm_over_tasks(comparisons: Comparisons) -> dict[CellKey, float | None]:
    families: dict[CellKey, list[CellKey]] = {}
    for key in comparisons:
        if key.task != AVERAGE:
            families.setdefault(key._replace(task=""), []).append(key)
    adjusted = {}
    for keys in families.values():
        adjusted |= zip(keys, holm([comparisons[key].p_paired for key in keys]), strict=True)
    return adjusted
