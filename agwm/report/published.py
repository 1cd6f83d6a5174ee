"""The paper's own figures (`published.csv`), through the same tables as ours, and checked."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from agwm.report.cells import AVERAGE, Block, Cell, make_blocks
from agwm.report.records import CellKey
from agwm.report.scores import key_values, scores_table
from agwm.report.statistics import welch_from_summary
from agwm.report.table import Column, Table

_FILE = Path(__file__).with_name("published.csv")
SEEDS = 10  # of every mean in the paper
# The paper's name of a setting -> ours.
_METHODS = {
    "agwm(K=2)": "agwm+num_searches=2",
    "random_alpha(0.005)": "random_alpha",
    "random_alpha(0.1)": "random_alpha+alpha_init_std=0.1",
    "random_alpha(0.45)": "random_alpha+alpha_init_std=0.45",
}
# Tables with a figure for each task, and the one that prints their averages.
_AVERAGES = {"8": "1", "2": "2", "3": "3", "11": "4", "9": "9", "10": None}
# Two decimals: the printed average is half a unit off, and so is the mean of rounded figures.
_ROUNDING = 0.01 + 1e-9


@dataclass(frozen=True)
class Figure:
    """One printed figure; `cell.key.task` is "average" for an average over tasks."""

    table: str
    cell: Cell


def published_figures() -> list[Figure]:
    """All printed means of one known number of examples, in the order of the paper's tables."""
    figures = []
    for row in _rows():
        if row["n_train"]:
            method = _METHODS.get(row["method"], row["method"])
            n_train = None if row["n_train"] == "full" else int(row["n_train"])
            key = CellKey(row["model"], n_train, method, row["task"])
            std = float(row["std"]) if row["std"] else None
            figures.append(Figure(row["table"], Cell(key, float(row["mean"]), std, SEEDS)))
    return figures


def published_tables() -> list[Table]:
    """The paper's tables of scores, its cost table, and what does not add up in them."""
    figures = published_figures()
    tables = []
    for source, averages in _AVERAGES.items():
        title = f"Paper, table {source}"
        if averages not in (None, source):
            title += f"; its averages are table {averages}"
        note = f"Mean ± standard deviation of {SEEDS} runs, as printed; averages recomputed."
        tables.append(
            scores_table(_blocks(figures, source), {}, note, f"paper-table-{source}", title)
        )
    return [*tables, _cost_table(), audit_averages(figures), audit_repeats(figures)]


def _rows() -> list[dict[str, str]]:
    with _FILE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _blocks(figures: list[Figure], table: str) -> list[Block]:
    cells = [figure.cell for figure in figures if figure.table == table]
    return make_blocks(cell for cell in cells if cell.key.task != AVERAGE)


def _cost_table() -> Table:
    rows = [[row["method"], row["mean"]] for row in _rows() if row["table"] == "5"]
    columns = [Column("method"), Column("time")]
    note = "Training time, vanilla = 1, as printed; K is the number of searches."
    return Table("paper-table-5", "Paper, table 5", columns, rows, note)


def audit_averages(figures: list[Figure]) -> Table:
    """Printed averages that are not those of the figures they are said to average."""
    columns = [
        *map(Column, ("table", "model", "n", "method", "figure")),
        Column("printed", "percent"),
        Column("recomputed", "exact"),
        Column("off by", "exact"),
    ]
    printed = {(figure.table, figure.cell.key): figure.cell for figure in figures}
    rows, checked = [], 0
    for source, averages in _AVERAGES.items():
        for block in _blocks(figures, source):
            for method in block.methods:
                key = CellKey(block.model, block.n_train, method, AVERAGE)
                cell, ours = printed.get((averages, key)), block.cells.get((method, AVERAGE))
                if cell is None or ours is None:
                    continue
                for name, old, new in (("mean", cell.mean, ours.mean), ("std", cell.std, ours.std)):
                    checked += 1
                    if abs(old - new) > _ROUNDING:
                        rows.append([averages, *key_values(key)[:3], name, old, new, old - new])
    note = f"{checked} averages recomputed; listed are those that are off by more than rounding."
    return Table("paper-averages", "Paper: averages that do not add up", columns, rows, note)


def audit_repeats(figures: list[Figure]) -> Table:
    """Cells that two of the paper's tables print differently."""
    columns = [
        *map(Column, ("model", "n", "method", "task")),
        Column("table"),
        Column("printed", "spread"),
        Column("other table"),
        Column("printed there", "spread"),
    ]
    first: dict[CellKey, Figure] = {}
    rows, repeats = [], 0
    for figure in figures:
        key, cell = figure.cell.key, figure.cell
        # An average is over other tasks in each table.
        if key.task == AVERAGE or "(" in key.method:
            continue
        known = first.setdefault(key, figure)
        if known is not figure:
            repeats += 1
            one, other = (known.cell.mean, known.cell.std), (cell.mean, cell.std)
            if one != other:
                rows.append([*key_values(key), known.table, one, figure.table, other])
    note = f"{repeats} repetitions compared; listed are those that differ from the first."
    return Table("paper-repeats", "Paper: one cell, two figures", columns, rows, note, keys=4)


def beside_published(cells: list[Cell]) -> Table:
    """Our cells for which the paper prints a figure, with Welch's test from its summary."""
    columns = [
        *map(Column, ("model", "n", "method", "task")),
        Column("ours", "spread"),
        Column("runs", "count"),
        Column("paper", "spread"),
        Column("paper's table"),
        Column("difference", "difference"),
        Column("p Welch", "p"),
    ]
    printed: dict[CellKey, dict[tuple, list[str]]] = defaultdict(lambda: defaultdict(list))
    for figure in published_figures():
        cell = figure.cell
        printed[cell.key][cell.mean, cell.std].append(figure.table)
    rows = []
    for cell in cells:
        if cell.mean is None:
            continue
        for (mean, std), tables in printed.get(cell.key, {}).items():
            p = None
            if None not in (std, cell.std):
                p = welch_from_summary(cell.mean, cell.std, cell.count, mean, std, SEEDS)
            ours = [(cell.mean, cell.std), cell.count]
            theirs = [(mean, std), ", ".join(tables), cell.mean - mean, p]
            rows.append([*key_values(cell.key), *ours, *theirs])
    note = (
        f"Difference of the means, ours less the paper's; Welch's t-test from its {SEEDS} runs' "
        "mean and standard deviation."
    )
    if not rows:
        note = "No cell of these runs has a figure in the paper."
    return Table("published", "Beside the paper's figures", columns, rows, note, keys=4, blocks=2)
