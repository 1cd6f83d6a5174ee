"""The report's pictures, made from the same cells as its tables."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import fmean

import numpy as np
from matplotlib.axes import Axes

from agwm.report.alpha import mean_alpha, read_alpha
from agwm.report.alpha_map import alpha_map
from agwm.report.cells import AVERAGE, Block, Cell
from agwm.report.cost import average_ratio, ratios, train_seconds
from agwm.report.statistics import mean_interval
from agwm.report.style import WARNING_COLOUR, Plot, label, legend_below, looks, panels, plot_style
from agwm.report.table import n_train_text


def make_plots(blocks: list[Block], baseline: str) -> list[Plot]:
    """All pictures that the runs allow."""
    with plot_style():
        return [
            *map(runs_plot, blocks),
            *curve_plots(blocks),
            *cost_plots(blocks, baseline),
            *(plot for block in blocks for plot in alpha_plots(block)),
        ]


def runs_plot(block: Block) -> Plot:
    """Every run as a dot over the box of its cell, a panel for each task."""
    methods = block.methods[::-1]  # the baseline on top
    names = [label(method) for method in methods]
    lines = [line for name in names for line in name.split("\n")]
    height = 0.7 + 0.28 * max(len(methods), 0.6 * len(lines))
    left = 0.07 * max(map(len, lines))
    tasks = _present([block], block.tasks)
    figure, axes = panels(tasks, 2.6, height, left=left, sharey=True)
    for ax, task in zip(axes, tasks, strict=True):
        for place, method in enumerate(methods):
            if (method, task) in block.cells:
                _box_and_dots(ax, place, block.cells[method, task])
        ax.set_yticks(range(len(methods)), names)
        ax.set_ylim(-0.6, len(methods) - 0.4)
    for ax in axes[-3:]:
        ax.set_xlabel("percent")
    note = "Box: quartiles and median. Dots: runs; crosses predict the same for every text."
    return Plot(f"runs-{_slug(block)}", f"Runs, {_name(block)}", note, figure)


def _box_and_dots(ax: Axes, place: int, cell: Cell) -> None:
    values = np.array([run.value for run in cell.runs])
    ax.boxplot(
        [values],
        positions=[place],
        widths=0.6,
        orientation="horizontal",
        showfliers=False,
        medianprops={"color": "#0072B2", "linewidth": 1.5},
        boxprops={"color": "#888888"},
        whiskerprops={"color": "#888888"},
        capprops={"color": "#888888"},
        manage_ticks=False,
    )
    # Spread out by seed, so that equal runs do not hide each other.
    heights = place + np.linspace(-0.18, 0.18, len(values))
    same = np.array([bool(cell.degenerate[run.seed]) for run in cell.runs])
    ax.plot(values[~same], heights[~same], "o", color="#0072B2", markersize=3, alpha=0.7)
    ax.plot(values[same], heights[same], "x", color=WARNING_COLOUR, markersize=5)


def curve_plots(blocks: list[Block]) -> Iterator[Plot]:
    """Mean over the number of examples, for each model that has two or more numbers of them."""
    by_model: dict[str, list[Block]] = defaultdict(list)
    for block in blocks:
        if block.n_train is not None:
            by_model[block.model].append(block)
    for model, members in by_model.items():
        if len(members) > 1:
            yield _curve_plot(model, members)


def _curve_plot(model: str, blocks: list[Block]) -> Plot:
    methods = list(dict.fromkeys(method for block in blocks for method in block.methods))
    titles = _present(blocks, blocks[0].columns)
    figure, axes = panels(titles, 3, 2.4)
    sizes = [block.n_train for block in blocks]
    for ax, task in zip(axes, titles, strict=True):
        for index, (method, look) in enumerate(looks(methods).items()):
            # Side by side, for intervals to be told apart.
            shift = 1 + 0.02 * (index - (len(methods) - 1) / 2)
            cells = [block.cells.get((method, task)) for block in blocks]
            values = [list(cell.values.values()) if cell else [] for cell in cells]
            points = [(n * shift, v) for n, v in zip(sizes, values, strict=True) if v]
            means = [fmean(v) for _, v in points]
            ends = [mean_interval(v) or (m, m) for (_, v), m in zip(points, means, strict=True)]
            bars = [[abs(m - e[i]) for m, e in zip(means, ends, strict=True)] for i in (0, 1)]
            ax.errorbar(
                [n for n, _ in points],
                means,
                yerr=bars,
                **look,
                markersize=4,
                linewidth=1.2,
                elinewidth=0.8,
                capsize=2,
                label=label(method),
            )
        ax.set_xscale("log")
        ax.set_xticks(sizes, [str(n) for n in sizes])
        ax.minorticks_off()
    for ax in axes[-3:]:
        ax.set_xlabel("training examples")
    for ax in axes[::3]:
        ax.set_ylabel("percent")
    legend_below(figure, axes[0])
    note = (
        "Mean over runs with its 95 % bootstrap interval. Average: only where a method has all "
        "tasks of this report."
    )
    return Plot(f"curve-{model}", f"Number of examples, {model}", note, figure)


def _present(blocks: list[Block], tasks: list[str]) -> list[str]:
    """Those of `tasks` for which a block has a cell."""
    found = {task for block in blocks for _, task in block.cells}
    return [task for task in tasks if task in found]


def cost_plots(blocks: list[Block], baseline: str) -> Iterator[Plot]:
    """Average headline over training time, relative to the baseline, on a log axis."""
    found = []
    for block in blocks:
        points = {}
        for method in block.methods:
            time = average_ratio(block, ratios(block, method, baseline, train_seconds))
            if time is not None:
                points[method] = time, block.cells[method, AVERAGE].mean
        if len(points) > 1:
            found.append((block, points))
    if not found:
        return
    methods = list(dict.fromkeys(method for _, points in found for method in points))
    figure, axes = panels([_name(block) for block, _ in found], 3, 2.6)
    for ax, (_, points) in zip(axes, found, strict=True):
        for method, look in looks(methods).items():
            time, average = points.get(method, ([], []))
            ax.plot(time, average, **(look | {"linestyle": ""}), label=label(method))
        ax.set_xscale("log")
        _plain_ratio_ticks(ax, [time for time, _ in points.values()])
    for ax in axes[-3:]:
        ax.set_xlabel("training time over the baseline's")
    for ax in axes[::3]:
        ax.set_ylabel("average, percent")
    legend_below(figure, axes[0])
    note = (
        f"Median training seconds over those of {baseline} on the same task, averaged over tasks; "
        "only methods that have all tasks of this report."
    )
    yield Plot("cost", "Cost against quality", note, figure)


def _plain_ratio_ticks(ax: Axes, times: list[float]) -> None:
    """Ticks at 1, 2, 5, 10, ... within reach of `times`."""
    ticks = [step * 10.0**power for power in range(-3, 5) for step in (1, 2, 5)]
    low, high = min(times) / 1.5, max(times) * 1.5
    inside = [tick for tick in ticks if low <= tick <= high]
    ax.set_xlim(low, high)
    ax.set_xticks(inside, [f"{tick:g}" for tick in inside])
    ax.minorticks_off()


def alpha_plots(block: Block) -> Iterator[Plot]:
    """Mean coefficient of the task weight by layer and module, for the methods that learn it."""
    for method in block.methods:
        maps = {}
        for task in block.tasks:
            cell = block.cells.get((method, task))
            found = [read_alpha(run.folder) for run in cell.runs] if cell else []
            found = [one for one in found if one]
            shared = mean_alpha(found) if found else {}
            if shared:
                maps[task] = shared
        if maps:
            yield _alpha_plot(block, method, maps)


def _alpha_plot(block: Block, method: str, maps: dict[str, dict]) -> Plot:
    title = f"Mixing coefficients, {method}, {_name(block)}"
    note = "Mean over a matrix of the task weight's coefficient, over runs; 1 leaves W unmixed."
    return Plot(f"alpha-{_slug(block)}-{method}", title, note, alpha_map(maps))


def _name(block: Block) -> str:
    return f"{block.model}, n = {n_train_text(block.n_train)}"


def _slug(block: Block) -> str:
    return f"{block.model}-n{n_train_text(block.n_train)}"
