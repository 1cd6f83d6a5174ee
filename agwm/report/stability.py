"""How much the runs of a cell disagree, beyond their standard deviation."""

from agwm.report.agreement import disagreement, fleiss_kappa, jensen_shannon, mean_distance
from agwm.report.cells import Cell, summarize
from agwm.report.predictions import stack_predictions
from agwm.report.records import Run
from agwm.report.scores import key_values
from agwm.report.table import Column, Table

_COLUMNS = [
    Column("model"),
    Column("n"),
    Column("method"),
    Column("task"),
    Column("over"),
    Column("runs", "count"),
    Column("mean", "percent"),
    Column("std", "percent"),
    Column("range", "percent"),
    Column("no better", "share"),
    Column("degenerate", "count"),
    Column("disagreement", "share"),
    Column("distance", "decimal"),
    Column("kappa", "ratio"),
    Column("divergence", "decimal"),
]
_NOTE = (
    "Range: largest less smallest. No better: share of runs no better than predicting the same "
    "for every text, failed runs in Mosbach et al. (2021). Disagreement: share of texts on which "
    "two runs differ, mean over pairs of runs; for regression, distance: mean absolute "
    "difference of their predictions. Kappa: Fleiss, runs as raters. Divergence: Jensen-Shannon "
    "in bits, mean over pairs and texts."
)


def stability_table(cells: list[Cell]) -> Table:
    """One row a cell; one more without its degenerate runs where it has some."""
    rows = []
    for cell in cells:
        if not cell.runs:
            continue
        rows.append([*key_values(cell.key), "all", *_measures(cell, list(cell.runs))])
        others = [run for run in cell.runs if not cell.degenerate[run.seed]]
        if cell.degenerate_count and others:
            rows.append([*key_values(cell.key), "not degenerate", *_measures(cell, others)])
    return Table("stability", "Stability", list(_COLUMNS), rows, _NOTE, keys=5, blocks=2)


def _measures(cell: Cell, runs: list[Run]) -> list:
    values = [run.value for run in runs]
    flags = [cell.degenerate[run.seed] for run in runs]
    return [
        len(runs),
        *summarize(values),
        max(values) - min(values),
        _no_better(runs),
        None if None in flags else sum(flags),
        *_between_runs(runs),
    ]


def _no_better(runs: list[Run]) -> float | None:
    """Share of runs whose headline is at most that of a constant prediction."""
    baselines = [run.get("baseline") for run in runs]
    if None in baselines:
        return None
    # The two may differ in their last bits.
    worse = [run.value <= constant + 1e-6 for run, constant in zip(runs, baselines, strict=True)]
    return sum(worse) / len(worse)


def _between_runs(runs: list[Run]) -> list[float | None]:
    """Disagreement, distance, kappa and divergence of what the runs predict."""
    found = stack_predictions(runs)
    if found is None:
        return [None] * 4
    if found.regression:
        return [None, mean_distance(found.predicted), None, None]
    return [
        disagreement(found.predicted),
        None,
        fleiss_kappa(found.predicted),
        jensen_shannon(found.scores),
    ]
