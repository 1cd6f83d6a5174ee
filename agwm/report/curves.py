"""The course of a run's training, from its `metrics.csv`: losses, rates, hypergradient, alpha."""

import csv
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from agwm.report.style import COLOURS, Plot, legends_above, panels

FILE = "metrics.csv"
Curves = dict[str, np.ndarray]  # column -> one value a row, NaN where it is blank


class _Panel(NamedTuple):
    phase: str
    title: str
    columns: dict[str, str]  # of metrics.csv, and what they are called
    unit: str
    log: bool = False


_PANELS = (
    _Panel(
        "search", "search: loss", {"inner_loss": "inner (W)", "outer_loss": "outer (alpha)"}, "loss"
    ),
    _Panel(
        "search", "search: learning rates", {"lr": "of W", "alpha_lr": "of alpha"}, "rate", log=True
    ),
    _Panel(
        "search",
        "search: hypergradient",
        {"direct_norm": "direct term", "implicit_norm": "implicit term"},
        "norm",
        log=True,
    ),
    _Panel("search", "search: cosine of its terms", {"cosine": "cosine"}, "cosine"),
    _Panel("finetune", "fine-tuning: loss", {"loss": "loss"}, "loss"),
    _Panel("finetune", "fine-tuning: learning rate", {"lr": "of W"}, "rate"),
)
# The other curves are smooth.
_NOISY = ("inner_loss", "outer_loss", "loss", "direct_norm", "implicit_norm", "cosine")


def read_curves(folder: Path) -> dict[str, Curves]:
    """Curves of each phase, in the order of the file; empty if it is missing or broken."""
    rows: dict[str, list[dict[str, str]]] = {}
    try:
        with (folder / FILE).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                rows.setdefault(row.pop("phase"), []).append(row)
        return {
            phase: {
                name: np.array([float(row[name] or "nan") for row in mine])
                for name in mine[0]
                if any(row[name] for row in mine)
            }
            for phase, mine in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return {}


def running_mean(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Means over a tenth of the values, their steps in the middle, and how many each is over."""
    window = max(1, len(values) // 10)
    weights = np.full(window, 1 / window)
    return (
        np.convolve(steps, weights, mode="valid"),
        np.convolve(values, weights, mode="valid"),
        window,
    )


def learning_curves(curves: dict[str, Curves]) -> Plot | None:
    """Losses, rates and the hypergradient's terms; None if nothing of it was logged."""
    shown = [(panel, _logged(panel, curves)) for panel in _PANELS]
    shown = [(panel, columns) for panel, columns in shown if columns]
    if not shown:
        return None
    figure, axes = panels([panel.title for panel, _ in shown], 3.2, 2.4)
    windows: set[int] = set()
    for ax, (panel, columns) in zip(axes, shown, strict=True):
        found = curves[panel.phase]
        for colour, name in zip(COLOURS[1:], columns, strict=False):
            text = panel.columns[name]
            for part in _searches(found):
                steps, values = found["step"][part], found[name][part]
                there = np.isfinite(values)
                windows |= _draw(ax, steps[there], values[there], colour, text, name in _NOISY)
                text = None  # one entry of the legend for all searches
        _step_axis(ax)
        ax.set_ylabel(panel.unit)
        if panel.log:
            ax.set_yscale("log", nonpositive="mask")
            ax.minorticks_off()
            low, high = ax.get_ylim()
            if high < 100 * low:  # powers of ten alone would be one or two ticks
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        if panel.unit == "cosine":
            ax.set_ylim(-1.05, 1.05)
    legends_above(axes)
    return Plot("learning_curves", "Learning curves", _note(windows, curves), figure)


def _step_axis(ax: Axes) -> None:
    ax.set_xlabel("step")
    ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))


def _logged(panel: _Panel, curves: dict[str, Curves]) -> list[str]:
    """Columns of `panel` that hold more than zeros, which is how a left out term is logged."""
    found = curves.get(panel.phase, {})
    return [name for name in panel.columns if name in found and np.nansum(abs(found[name]))]


def _note(windows: set[int], curves: dict[str, Curves]) -> str:
    means = " or ".join(map(str, sorted(windows)))
    note = f"Dots: single steps; lines: means over {means} of them. " if windows else ""
    if len(list(_searches(curves.get("search", {})))) > 1:
        note += "The searches follow each other, each from the pretrained weights."
    return note.strip()


def _searches(curves: Curves) -> Iterator[np.ndarray]:
    """Rows of each search, or all of them: means are not to be over two fits."""
    step = curves.get("step", np.array([]))
    of = curves.get("k", np.zeros_like(step))
    for k in dict.fromkeys(of):
        yield np.flatnonzero(of == k)


def _draw(
    ax: Axes, steps: np.ndarray, values: np.ndarray, colour: str, text: str | None, noisy: bool
) -> set[int]:
    """Line, with dots below it where it is a mean; over how many values that is."""
    if not noisy or len(values) < 20:
        ax.plot(steps, values, color=colour, linewidth=1.2, label=text)
        return set()
    faint = float(np.clip(100 / len(values), 0.03, 0.35))  # or many dots would be one area
    ax.plot(steps, values, ".", color=colour, markersize=4, alpha=faint, markeredgewidth=0)
    *mean, window = running_mean(steps, values)
    ax.plot(*mean, color=colour, linewidth=1.4, label=text)
    return {window}


def alpha_course(curves: dict[str, Curves]) -> Plot | None:
    """Mean, range and share at the bounds of alpha's entries; None if no search was logged."""
    found = curves.get("search", {})
    if not {"step", "alpha_mean", "alpha_min", "alpha_max", "alpha_at_bounds"} <= set(found):
        return None
    figure, (values, bounds) = panels(["alpha's entries", "entries at a bound"], 4.4, 2.6)
    parts = list(_searches(found))
    for part in parts:
        steps = found["step"][part]
        first = part is parts[0]
        values.fill_between(
            steps,
            found["alpha_min"][part],
            found["alpha_max"][part],
            color=COLOURS[5],
            alpha=0.35,
            linewidth=0,
            label="smallest to largest" if first else None,
        )
        mean = found["alpha_mean"][part]
        values.plot(steps, mean, color=COLOURS[1], label="mean" if first else None)
        bounds.plot(steps, 100 * found["alpha_at_bounds"][part], color=COLOURS[1])
    for ax in (values, bounds):
        _step_axis(ax)
        for earlier, later in pairwise(parts):
            between = (found["step"][earlier[-1]] + found["step"][later[0]]) / 2
            ax.axvline(between, color="#888888", linewidth=0.8, linestyle=":")
    values.set_ylabel("value")
    bounds.set_ylabel("percent")
    bounds.set_ylim(0, None)
    legends_above((values, bounds))
    note = "Of the entries of a1 and a2 (of alpha, without factors), which stay in [0, 1]."
    if len(parts) > 1:
        note += " A search begins at each dotted line."
    return Plot("alpha_course", "Alpha during the search", note, figure)
