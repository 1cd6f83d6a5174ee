"""Which method to use on one's own data, and how sure that is, in a sentence or two."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev

import numpy as np

from agwm.config import Task
from agwm.errors import RunError
from agwm.report.predictions import FILE
from agwm.report.records import Run
from agwm.report.statistics import compare
from agwm.training.metrics import score

_RESAMPLES = 1000


@dataclass(frozen=True)
class Verdict:
    """The method to use, and why."""

    method: str
    text: str


def judge(runs: list[Run], baseline: str, task: Task) -> Verdict:
    """Compare the methods of `runs` by their headline.

    The interval is that of the difference of two means over seeds, for other seeds and other
    texts: both are drawn anew, with replacement, 1,000 times. With several methods beside the
    baseline it is widened for their number (Bonferroni).

    Args:
        runs: finished ones of one model, one number of examples and one task.
        baseline: the method that the others have to be better than.
        task: its metrics; the first is the headline.

    Raises:
        RunError: no run of the baseline, or no other method has a seed in common with it.
    """
    sides = {name: _Side(name, runs, task) for name in dict.fromkeys(r.cell.method for r in runs)}
    first = sides.pop(baseline, None)
    others = [side for side in sides.values() if first and first.values.keys() & side.values.keys()]
    if not others:
        raise RunError(f"no verdict: {baseline} and another method need runs of the same seeds")
    best = max(others, key=lambda side: mean(side.values.values()))
    comparison = compare(best.values, first.values)
    low, high = _interval(best, first, 0.05 / len(others))
    texts = len(first.labels)
    found = (
        f"{best.shown}'s {task.metrics[0]} is {abs(comparison.difference):.1f} points "
        f"{'above' if comparison.difference >= 0 else 'below'} {first.shown}'s (95 % interval "
        f"{low:+.1f} to {high:+.1f}, for other seeds and other texts; {comparison.seeds} seeds, "
        f"{texts} texts)"
    )
    cheaper = min(best, first, key=lambda side: side.seconds)
    if low > 0:
        method, text = best.name, f"Use {best.shown}: {found}."
    elif high < 0:
        method, text = baseline, f"Use {first.shown}: {found}."
    else:
        method = cheaper.name
        wanted = _what_would_tell(best, first, comparison.seeds, high - low)
        text = (
            f"The data cannot tell {best.shown} from {first.shown}: {found}. Use {cheaper.shown}, "
            f"the cheaper of the two; {wanted} would tell more."
        )
    return Verdict(method, f"{text} {_spread(best, first, comparison.p_spread)}".strip())


class _Side:
    """Runs of one method."""

    def __init__(self, name: str, runs: list[Run], task: Task) -> None:
        self.name, self.task = name, task
        self.runs = {run.seed: run for run in runs if run.cell.method == name}
        self.values = {seed: run.value for seed, run in self.runs.items()}
        # What all compared runs have in common need not be said.
        self.shown = next(iter(self.runs.values())).record["method"]

    @cached_property
    def rows(self) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """Label and prediction of each text, by seed."""
        return {seed: _read(run.folder) for seed, run in self.runs.items()}

    @property
    def labels(self) -> np.ndarray:
        """Of the texts that all were evaluated on."""
        return next(iter(self.rows.values()))[0]

    @property
    def seconds(self) -> float:
        """Mean time of training."""
        return mean(run.get("cost", "train_seconds") or 0.0 for run in self.runs.values())

    def drawn(self, seeds: np.ndarray, texts: np.ndarray) -> float:
        """Mean headline over `seeds`, in percent, on the texts at these positions."""
        known = {}
        for seed in set(seeds.tolist()):
            labels, predicted = self.rows[seed]
            try:
                name = self.task.metrics[0]
                known[seed] = score(name, predicted[texts], labels[texts], self.task)
            except RunError:  # a correlation with what is constant
                known[seed] = 0.0
        return 100 * mean(known[seed] for seed in seeds.tolist())


def _read(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    lines = (folder / FILE).read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if "split" not in row]
    return np.array([r["label"] for r in rows]), np.array([r["prediction"] for r in rows])


def _interval(ours: _Side, theirs: _Side, level: float) -> tuple[float, float]:
    """Of ours - theirs, in points, by percentiles."""
    rng = np.random.default_rng(0)
    common = np.array(sorted(ours.values.keys() & theirs.values.keys()))
    count = len(ours.labels)
    differences = []
    for _ in range(_RESAMPLES):
        seeds, texts = rng.choice(common, len(common)), rng.integers(0, count, count)
        differences.append(ours.drawn(seeds, texts) - theirs.drawn(seeds, texts))
    low, high = np.quantile(differences, [level / 2, 1 - level / 2])
    return float(low), float(high)


def _what_would_tell(ours: _Side, theirs: _Side, seeds: int, width: float) -> str:
    """Whether the seeds or the texts to evaluate on make the interval wide."""
    pairs = [
        ours.values[seed] - theirs.values[seed] for seed in ours.values if seed in theirs.values
    ]
    of_seeds = 2 * 1.96 * stdev(pairs) / math.sqrt(seeds) if seeds > 1 else math.inf
    wide_by_seeds = of_seeds**2 > width**2 / 2
    return "more seeds" if wide_by_seeds else "more texts to evaluate on"


def _spread(ours: _Side, theirs: _Side, p: float | None) -> str:
    if min(len(ours.values), len(theirs.values)) < 2:
        return ""
    spread = [stdev(side.values.values()) for side in (ours, theirs)]
    sure = "more than chance" if p is not None and p < 0.05 else "which may be chance"
    return (
        f"From seed to seed {ours.shown} varies by {spread[0]:.1f} points, {theirs.shown} by "
        f"{spread[1]:.1f} ({sure})."
    )
