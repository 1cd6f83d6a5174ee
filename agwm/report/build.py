"""The whole report as data: what is said, which tables and which plots."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import product

from agwm.report.cells import Block, Cell, make_blocks, make_cells
from agwm.report.cost import cost_table, device_warnings
from agwm.report.published import beside_published, published_tables
from agwm.report.records import CellKey, Records, Run
from agwm.report.scores import (
    Comparisons,
    cells_table,
    compare_with,
    comparisons_table,
    key_values,
    scores_table,
)
from agwm.report.stability import stability_table
from agwm.report.table import Column, Table, n_train_text

# Columns of runs.csv that are fields of the record.
_COST = ("train_seconds", "total_seconds", "forward_passes", "backward_passes", "optimizer_steps")
_PLAIN = ("peak_memory_bytes", "device", "sweep", "config_hash", "cell_hash", "subsample_hash")


@dataclass
class Report:
    """What the renderers write down."""

    title: str
    facts: list[str] = field(default_factory=list)  # where the numbers come from
    warnings: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)  # for the plots
    baseline: str = "vanilla"
    sweeps: list[str] = field(default_factory=list)
    runs: list[list] = field(default_factory=list)  # a header, and a row for each record


def report_on_paper() -> Report:
    """The paper's own tables, checked."""
    return Report("The paper's figures", tables=published_tables())


def report_on_runs(records: Records, baseline: str, published: bool) -> Report:
    """All tables on `records`.

    Args:
        records: checked.
        baseline: label of the method that the others are compared with.
        published: whether to put the paper's figures beside ours.
    """
    cells = make_cells(records)
    blocks = make_blocks(cells, first=baseline)
    comparisons = compare_with(baseline, blocks)
    tables = [scores_table(blocks, comparisons, _scores_note(records.ok, baseline))]
    if comparisons:
        tables.append(comparisons_table(comparisons, baseline))
    if published:
        tables.append(beside_published(cells))
    tables += [cells_table(cells), stability_table(cells), cost_table(blocks, baseline)]
    if records.failed:
        tables.append(_failed_table(records.failed))
    if records.unreadable:
        tables.append(_unreadable_table(records))
    warnings = [
        *_missing_warnings(records, cells, comparisons, baseline),
        *_absence_warnings(cells),
        *_interval_warnings(comparisons),
        *_subsample_warnings(records.ok),
        *device_warnings(blocks, baseline),
    ]
    return Report(
        "Report",
        _facts(records),
        warnings,
        tables,
        blocks,
        baseline,
        sorted({run.get("sweep") or "unknown" for run in records.ok}),
        _run_rows(records, cells),
    )


def _scores_note(runs: list[Run], baseline: str) -> str:
    metrics = {run.cell.task: run.get("headline", "name") or "headline" for run in runs}
    named = ", ".join(f"{task}: {metric}" for task, metric in sorted(metrics.items()))
    return (
        f"Mean ± standard deviation (ddof 1) over seeds, in percent ({named}). Average: means of "
        "both over the tasks, only for methods that have all tasks of this report. Bold: the "
        f"paired difference from {baseline} is positive, its 95 % interval excludes zero and the "
        "paired t-test gives p < 0.05."
    )


def _failed_table(failed: list[Run]) -> Table:
    columns = [*map(Column, ("model", "n", "method", "task", "seed", "folder", "error"))]
    rows = [
        [*key_values(run.cell), run.seed, str(run.folder), _one_line(run.get("error"))]
        for run in failed
    ]
    return Table("failed", "Failed runs", columns, rows, "In no mean and no test.", keys=5)


def _one_line(error: object) -> str:
    return " ".join(str(error or "no error recorded").split())


def _unreadable_table(records: Records) -> Table:
    rows = [[str(file), reason] for file, reason in records.unreadable]
    note = "Counted nowhere."
    return Table("unreadable", "Unreadable records", [Column("file"), Column("why")], rows, note)


def _missing_warnings(
    records: Records, cells: list[Cell], comparisons: Comparisons, baseline: str
) -> list[str]:
    lines = []
    methods = sorted({cell.key.method for cell in cells if cell.count})
    if baseline not in methods:
        found = ", ".join(methods) or "none"
        lines.append(
            f"no comparisons: {baseline} has no finished run; choose with --baseline: {found}"
        )
    elif not comparisons:
        lines.append(f"no comparisons: no other method shares a task with {baseline}")
    short = sum(bool(cell.missing_seeds) for cell in cells)
    if short:
        lines.append(
            f"{short} of {len(cells)} cells lack seeds that others have: see Cells; "
            "their means are over fewer runs"
        )
    if records.failed:
        lines.append(f"failed runs, listed at the end and counted nowhere: {len(records.failed)}")
    if records.unreadable:
        names = ", ".join(str(file) for file, _ in records.unreadable[:3])
        more = len(records.unreadable) - 3
        lines.append(
            f"unreadable, counted nowhere: {names}" + (f" and {more} more" if more > 0 else "")
        )
    return lines


def _absence_warnings(cells: list[Cell]) -> list[str]:
    """Tasks that a method was not run on, but others with the same model and examples were."""
    keys = [cell.key for cell in cells]
    absent = []
    for model, n_train in dict.fromkeys(key[:2] for key in keys):
        mine = [key for key in keys if key[:2] == (model, n_train)]
        methods = dict.fromkeys(key.method for key in mine)
        tasks = dict.fromkeys(key.task for key in mine)
        every = [CellKey(model, n_train, *pair) for pair in product(methods, tasks)]
        there = set(mine)
        absent += [key for key in every if key not in there]
    lines = [
        f"no runs of {method} on {task} ({model}, n = {n_train_text(n_train)})"
        for model, n_train, method, task in absent[:3]
    ]
    return lines + ([f"no runs in {len(absent) - 3} more such cells"] if absent[3:] else [])


def _interval_warnings(comparisons: Comparisons) -> list[str]:
    fewest = min((found.seeds for found in comparisons.values() if found.interval), default=10)
    if fewest >= 10:
        return []
    # Coverage as measured for `mean_interval`.
    return [
        f"intervals of as few as {fewest} seeds: a 95 % interval is too short there "
        "(it holds the truth in 72 % of cases with 3 seeds, 84 % with 5, 92 % with 10)"
    ]


def _subsample_warnings(runs: list[Run]) -> list[str]:
    """Runs of one seed are pairs only if they saw the same examples."""
    seen: dict[tuple, set[str]] = {}
    for run in runs:
        if run.get("subsample_hash"):
            place = (run.cell.task, run.cell.n_train, run.seed)
            seen.setdefault(place, set()).add(run.get("subsample_hash"))
    odd = [place for place, hashes in seen.items() if len(hashes) > 1]
    if not odd:
        return []
    task, n_train, seed = odd[0]
    return [
        f"methods saw different training examples at one seed in {len(odd)} cases, first "
        f"{task}, n = {n_train_text(n_train)}, seed {seed}: paired tests do not hold there"
    ]


def _facts(records: Records) -> list[str]:
    runs = [*records.ok, *records.failed]

    def counted(*path: str, length: int | None = None) -> str:
        found = Counter(str(run.get(*path) or "unknown")[:length] for run in runs)
        return ", ".join(f"{name} ({count})" for name, count in sorted(found.items()))

    times = sorted(time for run in runs for time in [run.get("finished_at")] if time)
    dirty = sum(bool(run.get("git", "dirty")) for run in runs)
    return [
        f"{len(records.ok)} runs, {len(records.failed)} failed, "
        f"{len(records.unreadable)} unreadable",
        f"sweeps: {counted('sweep')}",
        *([f"finished: {times[0]} to {times[-1]}"] if times else []),
        f"commits: {counted('git', 'commit', length=12)}"
        + (f"; {dirty} with changes" if dirty else ""),
        f"agwm: {counted('versions', 'agwm')}; torch: {counted('versions', 'torch')}",
        f"devices: {counted('device')}",
    ]


def _run_rows(records: Records, cells: list[Cell]) -> list[list]:
    """One row for each readable record, failed ones without a value."""
    flags = {(cell.key, seed): flag for cell in cells for seed, flag in cell.degenerate.items()}
    header = ["model", "n_train", "method", "task", "seed", "status", "metric", "value"]
    header += ["baseline", "degenerate", "mixture", *_COST, *_PLAIN, "commit", "folder", "error"]
    rows = []
    for run in [*records.ok, *records.failed]:
        rows.append(
            [
                *key_values(run.cell),
                run.seed,
                run.record["status"],
                run.get("headline", "name") if run.value is not None else None,
                run.value,
                run.get("baseline"),
                flags.get((run.cell, run.seed)) if run.value is not None else None,
                run.get("mixture"),
                *(run.get("cost", name) for name in _COST),
                *(run.get(name) for name in _PLAIN),
                run.get("git", "commit"),
                str(run.folder),
                run.get("error"),
            ]
        )
    return [header, *rows]
