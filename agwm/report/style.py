"""What all plots share: colours, markers, panels, and SVG that is the same for the same data."""

import io
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from agwm.report.table import fold_name

# Okabe and Ito (2008), told apart by the colour-blind; yellow left out, too light on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
_MARKERS = "osD^vPX<>*"
WARNING_COLOUR = "#D55E00"
_SETTINGS = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # a method's name may hold a dollar sign
    "svg.hashsalt": "agwm",  # the same identifiers each time
    "svg.fonttype": "none",  # letters as text and not as outlines: read, searched and small
}


@dataclass
class Plot:
    """One picture of the report."""

    name: str
    title: str
    note: str
    figure: Figure


@contextmanager
def plot_style() -> Iterator[None]:
    """Settings that hold while figures are made or drawn."""
    with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        # Names in scripts that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def looks(methods: Iterable[str]) -> dict[str, dict[str, str]]:
    """Colour, marker and line of each method; no two of the first 70 share colour and marker."""
    lines = ("-", "--", ":", "-.")
    return {
        method: {
            "color": COLOURS[index % len(COLOURS)],
            "marker": _MARKERS[index % len(_MARKERS)],
            "linestyle": lines[index // len(COLOURS) % len(lines)],
        }
        for index, method in enumerate(methods)
    }


def panels(
    titles: list[str], width: float, height: float, left: float = 0.0, **shared: bool
) -> tuple[Figure, list[Axes]]:
    """One small plot for each title, at most three in a row.

    Args:
        titles: of the plots.
        width: of one, inches.
        height: of one, inches.
        left: further inches for the labels of the first column.
        shared: sharex, sharey of matplotlib's `subplots`.
    """
    across = min(3, len(titles))
    width = max(width, 4.8 / across)  # one or two alone are not to be narrow
    down = -(-len(titles) // across)
    figure = Figure(figsize=(left + across * width, down * height), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, **shared)
    axes = list(grid.flat)
    for ax in axes[len(titles) :]:
        ax.remove()
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title, loc="left")
    return figure, axes[: len(titles)]


def label(method: str) -> str:
    """A method's name as plots have it: long ones in several lines."""
    return fold_name(method, 24)


def legend_below(figure: Figure, ax: Axes) -> None:
    """One legend for all panels, of what is in `ax`."""
    handles, labels = ax.get_legend_handles_labels()
    across = max(1, int(figure.get_figwidth() / 2.4))
    # As much room as it takes from the panels.
    lines = -(-len(labels) // across) * max(label.count("\n") + 1 for label in labels)
    figure.set_figheight(figure.get_figheight() + 0.17 * lines)
    figure.legend(handles, labels, loc="outside lower left", ncols=across)


def legends_above(axes: Iterable[Axes]) -> None:
    """A legend between title and panel, of each panel that shows several things."""
    for ax in axes:
        if len(handles := ax.get_legend_handles_labels()[0]) > 1:
            where = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.1}
            ax.legend(**where, ncols=len(handles), fontsize=8, borderpad=0, columnspacing=1)
        ax.set_title(ax.get_title(loc="left"), loc="left", pad=17)


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG file, 150 dots per inch."""
    out = io.BytesIO()
    with plot_style():
        figure.savefig(out, format="png", dpi=150, metadata={"Software": None})
    return out.getvalue()


def to_svg(figure: Figure) -> str:
    """The figure as an `<svg>` element, without date or XML header."""
    out = io.StringIO()
    with plot_style():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as red, green, blue and opacity, (height, width, 4) bytes, 150 dots per inch."""
    figure.set_dpi(150)
    canvas = FigureCanvasAgg(figure)
    with plot_style():
        canvas.draw()
    return np.asarray(canvas.buffer_rgba())
