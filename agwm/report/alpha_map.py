"""The heat-map of mixing coefficients, of one run or of the means of several."""

import numpy as np
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from agwm.report.alpha import Place
from agwm.report.style import panels


def alpha_map(maps: dict[str, dict[Place, float]]) -> Figure:
    """Layers down, modules across, one panel for each title in `maps`, all in one scale."""
    rows = list(dict.fromkeys(row for one in maps.values() for row, _ in one))
    rows.sort(key=_depth)
    columns = list(dict.fromkeys(column for one in maps.values() for _, column in one))
    values = [value for one in maps.values() for value in one.values()]
    # One object for all panels: the colorbar widens it where all values are the same.
    scale = Normalize(min(values), max(values))
    names = 0.075 * max(map(len, columns))  # inches below a panel
    height = 0.3 + names + max(1.2, 0.22 * len(rows))
    figure, axes = panels(list(maps), 0.5 + 0.35 * len(columns), height, left=1.2, sharey=True)
    for ax, one in zip(axes, maps.values(), strict=True):
        grid = np.array([[one.get((row, column), np.nan) for column in columns] for row in rows])
        ax.grid(False)
        image = ax.imshow(grid, norm=scale, cmap="cividis", aspect="auto")
        ax.set_xticks(range(len(columns)), columns, rotation=90)
        ax.set_yticks(range(len(rows)), rows)
    figure.colorbar(image, ax=axes, label="coefficient of W").ax.yaxis.labelpad = 8
    return figure


def _depth(row: str) -> tuple[int, int]:
    """Encoder's layers first, then the decoder's, then what is in no layer."""
    stack, _, number = row.rpartition("layer ")
    return (len(stack), int(number)) if number.isdigit() else (99, 0)
