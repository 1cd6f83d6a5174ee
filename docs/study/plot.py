"""The picture of README.md: what every method gains over vanilla, with its interval.

    python docs/study/plot.py

It writes differences.svg, of the records that lie beside it.
"""

from statistics import fmean

from matplotlib.figure import Figure
from tables import FIVE, HERE, TASKS, Scores, Study, read

from agwm.report.statistics import compare
from agwm.report.style import COLOURS, panels, plot_style, to_svg

BLACK, BLUE = COLOURS[:2]
OURS = ("agwm", "joint", "random_alpha")  # what mixes by alpha
MEAN = "mean of five tasks"


def draw(study: Study) -> Figure:
    """A panel for each task that tells methods apart, and one for the mean of all.

    The largest gain is on top, in the mean of those of the first two panels that a method has;
    passes stand behind the name. Hollow is what has fewer than five seeds.
    """
    base = _scores(study, "vanilla")
    found = {}
    for method in study.methods()[1:]:
        each = {panel: compare(ours, base[panel]) for panel, ours in _scores(study, method).items()}
        found[method] = {panel: one for panel, one in each.items() if one.interval}
    order = sorted(
        (method for method, each in found.items() if each.keys() - {MEAN}),
        key=lambda method: fmean(
            one.difference for panel, one in found[method].items() if panel != MEAN
        ),
    )
    with plot_style():
        figure, axes = panels(list(base), 2.4, 0.8 + 0.2 * len(order), left=2.2, sharey=True)
        for ax, panel in zip(axes, base, strict=True):
            ax.axvline(0, color=BLACK, linewidth=0.8)
            for place, method in enumerate(order):
                if panel in found[method]:
                    one = found[method][panel]
                    colour = BLUE if method.startswith(OURS) else BLACK
                    ax.plot(one.interval, [place, place], color=colour, linewidth=1.2)
                    fill = colour if one.seeds >= len(FIVE) else "white"
                    ax.plot(one.difference, place, "o", color=colour, mfc=fill, markersize=4)
            ax.set_xlabel("points more than vanilla")
        names = [f"{method}  {study.passes(method)}x" for method in order]
        axes[0].set_yticks(range(len(order)), names)
        axes[0].set_ylim(-0.7, len(order) - 0.3)
    return figure


def _scores(study: Study, method: str) -> dict[str, Scores]:
    """By panel."""
    return {task: study.scores(task, method) for task in TASKS[:2]} | {MEAN: study.mean(method)}


if __name__ == "__main__":
    svg = to_svg(draw(Study(read("records"))))
    (HERE / "differences.svg").write_text(svg + "\n", encoding="utf-8")
