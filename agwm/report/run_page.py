"""The page of one run: what came out, what it cost, and how training went."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from agwm.atomic import replacing, write_atomically
from agwm.errors import UserError
from agwm.report.alpha import read_alpha
from agwm.report.alpha_map import alpha_map
from agwm.report.curves import alpha_course, learning_curves, read_curves
from agwm.report.html import render
from agwm.report.mistakes import mistake_tables, scatter
from agwm.report.predictions import Predictions, read_predictions
from agwm.report.records import Run, read_records
from agwm.report.style import Plot, plot_style, to_png
from agwm.report.table import MISSING, Column, Table, n_train_text
from agwm.results.record import COLLAPSED, FILE

PAGE, PLOTS = "page.html", "plots"


def write_run_page(folder: Path) -> Path:
    """Write `page.html` and `plots/*.png` into a run's directory, from the files there alone.

    A part whose file is missing or broken is left out, as are the results of a failed run.

    Args:
        folder: run directory with a record.

    Returns:
        The page.

    Raises:
        UserError: no record that can be read.
        OSError: `folder` cannot be written to.
    """
    records = read_records([folder / FILE])
    for file, reason in records.unreadable:
        raise UserError(f"{file}: cannot be read ({reason}); run it again with force=true")
    (run,) = [*records.ok, *records.failed]
    config = _text(folder / "config.yaml")
    predictions = read_predictions(folder) if run.value is not None else None
    with plot_style():
        plots = list(_plots(run, predictions))
    pictures = [(plot, to_png(plot.figure)) for plot in plots]
    for plot, picture in pictures:
        file = folder / PLOTS / f"{plot.name}.png"
        file.parent.mkdir(exist_ok=True)
        with replacing(file) as temporary:
            temporary.write_bytes(picture)
    page = render(
        "run_page.html.j2",
        title=f"{run.cell.method} on {run.cell.task}, {run.cell.model}, "
        f"n = {n_train_text(run.cell.n_train)}, seed {run.seed}",
        run=run,
        collapsed=COLLAPSED.get(run.get("mixture")),
        facts=list(_facts(run)),
        tables=list(_tables(run, folder, predictions, config)),
        plots=[(plot, base64.b64encode(picture).decode()) for plot, picture in pictures],
        versions=_pairs("versions", "Versions", run.get("versions")),
        config=config,
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None


def _class_names(config: str) -> list[str] | None:
    """Names of the classes as `config.yaml` has them; None if it says nothing of them."""
    try:
        # Unresolved: a name is no interpolation, whatever stands in it.
        plain = OmegaConf.to_container(OmegaConf.create(config))
        return list(map(str, plain["task"]["labels"]))
    except Exception:  # whatever YAML and OmegaConf have against it
        return None


def _plots(run: Run, predictions: Predictions | None) -> Iterator[Plot]:
    curves = read_curves(run.folder)
    if predictions and predictions.labels is not None and predictions.regression:
        yield scatter(predictions)
    if plot := learning_curves(curves):
        yield plot
    if plot := alpha_course(curves):
        yield plot
    if run.value is not None and (found := read_alpha(run.folder)):
        note = "Mean over a matrix of the task weight's coefficient; 1 leaves W unmixed."
        figure = alpha_map({run.cell.task: found})
        yield Plot("alpha", "Mixing coefficients at the end", note, figure)


def _facts(run: Run) -> Iterator[str]:
    started, finished = run.get("started_at"), run.get("finished_at")
    if started and finished:
        yield f"started {started}, finished {finished}"
    if run.get("device"):
        yield f"on {run.get('device')}"
    if run.get("git", "commit"):
        dirty = " with changes" if run.get("git", "dirty") else ""
        yield f"commit {run.get('git', 'commit')[:12]}{dirty}"
    hashes = {"configuration": "config_hash", "training examples": "subsample_hash"}
    hashes |= {"weights": "weights_hash"}
    named = [f"{name} {run.get(field)}" for name, field in hashes.items() if run.get(field)]
    if named:
        yield f"hashes: {', '.join(named)}"


def _tables(
    run: Run, folder: Path, predictions: Predictions | None, config: str | None
) -> Iterator[Table]:
    if run.value is None:
        return
    if metrics := run.get("metrics"):
        rows = [[name, 100 * value] for name, value in metrics.items()]
        yield Table("metrics", "Metrics", [Column("metric"), Column("percent", "percent")], rows)
    if predictions and predictions.labels is not None:
        yield from mistake_tables(predictions, _class_names(config or ""))
    if data := _pairs("data", "Data", _json(_text(folder / "data.json"))):
        yield data
    yield _phases(run)
    yield _cost(run)


def _phases(run: Run) -> Table:
    columns = [
        Column("phase"),
        Column("steps", "count"),
        Column("epochs", "count"),
        Column("seconds", "percent"),
        Column("seconds a step", "decimal"),
    ]
    rows, zero = [], 0
    for phase in run.get("phases") or []:
        zero += phase.get("zero_directions", 0)
        steps, seconds = phase["steps"], phase["seconds"]
        each = seconds / steps if steps else None
        rows.append([phase["name"], steps, phase["epochs"], seconds, each])
    note = f"{zero} search steps had no outer gradient to follow." if zero else ""
    return Table("phases", "Phases", columns, rows, note)


def _cost(run: Run) -> Table:
    rows = [
        ["training", duration(run.get("cost", "train_seconds"))],
        ["in all, with loading and evaluation", duration(run.get("cost", "total_seconds"))],
        ["forward passes", run.get("cost", "forward_passes")],
        ["backward passes", run.get("cost", "backward_passes")],
        ["optimizer steps", run.get("cost", "optimizer_steps")],
    ]
    if memory := run.get("peak_memory_bytes"):
        rows.append(["peak memory", f"{memory / 2**30:.2f} GiB"])
    return Table("cost", "Cost", [Column("what"), Column("how much", "count")], rows)


def duration(seconds: float | None) -> str | None:
    """Seconds as people say them: "59.4 s", "15 min 41 s", "2 h 05 min"."""
    if seconds is None or seconds < 59.95:
        return None if seconds is None else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return (
        f"{minutes} min {rest:02d} s"
        if minutes < 60
        else "{} h {:02d} min".format(*divmod(round(seconds / 60), 60))
    )


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


def _pairs(name: str, title: str, values: Any) -> Table | None:
    """A JSON object as a table of two columns; None if it is none, or empty."""
    rows = [[key, text] for key, text in _flat(values)] if isinstance(values, dict) else []
    return Table(name, title, [Column("what"), Column("value")], rows) if rows else None


def _flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}: ")
        elif isinstance(value, list):
            yield f"{above}{key}", ", ".join(map(str, value))
        else:
            yield f"{above}{key}", MISSING if value is None else str(value)
