"""Which method to use on one's own data, and how sure that is, in a sentence or two."""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import mean, stdev

import numpy as np
from scipy import stats

from agwm.config import REGRESSION_METRICS, Task
from agwm.errors import RunError
from agwm.report.predictions import read_predictions
from agwm.report.records import Run
from agwm.report.statistics import compare
from agwm.training.metrics import score

_GROUPS = 40  # of the jackknife
_FROM_MINUS_ONE = (*REGRESSION_METRICS, "matthews_corrcoef")


@dataclass(frozen=True)
class Verdict:
    """The method to use, and why."""

    method: str
    text: str


def judge(runs: list[Run], baseline: str, task: Task) -> Verdict:
    """Compare the methods of `runs` by their headline.

    The interval is Student's, of the difference of two means over seeds. Its variance has two
    parts: that of the mean over other seeds, from the paired differences, and that over other
    texts, by a jackknife that leaves out a fortieth of them at a time; its degrees of freedom are
    Satterthwaite's. With several methods beside the baseline it is widened for their number
    (Bonferroni). One seed tells nothing of others, and decides nothing.

    Args:
        runs: finished ones of one model, one number of examples and one task.
        baseline: the method that the others have to be better than.
        task: its metrics; the first is the headline.

    Raises:
        RunError: no run of the baseline, no other method with a seed in common with it, or
            predictions that cannot be read or are not of the same texts.
    """
    sides = {name: _Side(name, runs, task) for name in dict.fromkeys(r.cell.method for r in runs)}
    first = sides.pop(baseline, None)
    others = [side for side in sides.values() if first and first.values.keys() & side.values.keys()]
    if not others:
        raise RunError(f"no verdict: {baseline} and another method need runs of the same seeds")
    best = max(others, key=lambda side: compare(side.values, first.values).difference)
    comparison = compare(best.values, first.values)
    doubt = _doubt(best, first)
    half = doubt.half_width(0.05 / len(others))
    # Half of it may reach beyond what two such metrics can differ by.
    most = 200 if task.metrics[0] in _FROM_MINUS_ONE else 100
    low = max(comparison.difference - half, -most)
    high = min(comparison.difference + half, most)
    seeds = comparison.seeds
    meant = f"other seeds and other texts; {seeds} seeds" if seeds > 1 else "other texts; one seed"
    found = (
        f"{best.shown}'s {task.metrics[0]} is {abs(comparison.difference):.1f} points "
        f"{'above' if comparison.difference >= 0 else 'below'} {first.shown}'s (95 % interval "
        f"{low:+.1f} to {high:+.1f}, for {meant}, {len(best.labels)} texts)"
    )
    cheaper = min(best, first, key=lambda side: side.seconds)
    if low > 0 and seeds > 1:
        method, text = best.name, f"Use {best.shown}: {found}."
    elif high < 0 and seeds > 1:
        method, text = baseline, f"Use {first.shown}: {found}."
    else:
        method = cheaper.name
        wanted = "more seeds" if doubt.mostly_of_seeds else "more texts to evaluate on"
        text = (
            f"{'The data' if seeds > 1 else 'One seed'} cannot tell {best.shown} from "
            f"{first.shown}: {found}. Use {cheaper.shown}, the cheaper of the two; {wanted} would "
            "tell more."
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
        found = {seed: read_predictions(run.folder) for seed, run in self.runs.items()}
        for seed, one in found.items():
            if one is None or one.labels is None:
                raise RunError(f"no verdict: {self.runs[seed].folder} has no sound predictions")
        return {seed: (one.labels, one.predicted[0]) for seed, one in found.items()}

    @property
    def labels(self) -> np.ndarray:
        """Of the texts that all were evaluated on."""
        return next(iter(self.rows.values()))[0]

    @property
    def seconds(self) -> float:
        """Mean time of training."""
        return mean(run.get("cost", "train_seconds") or 0.0 for run in self.runs.values())

    def mean_on(self, seeds: list[int], texts: np.ndarray) -> float:
        """Mean headline over `seeds`, in percent, on the texts at these positions."""
        return 100 * mean(self._score(seed, texts) for seed in seeds)

    def _score(self, seed: int, texts: np.ndarray) -> float:
        labels, predicted = self.rows[seed]
        try:
            return score(self.task.metrics[0], predicted[texts], labels[texts], self.task)
        except RunError:  # a correlation with what is constant
            return 0.0


@dataclass(frozen=True)
class _Doubt:
    """Variance of a difference of two means, in points squared, by where it comes from."""

    of_seeds: float
    of_texts: float
    seeds: int
    groups: int  # of texts

    @property
    def mostly_of_seeds(self) -> bool:
        """Of one seed nothing is known."""
        return self.seeds == 1 or self.of_seeds > self.of_texts

    def half_width(self, level: float) -> float:
        """Of the interval that misses the truth with probability `level`."""
        total = self.of_seeds + self.of_texts
        if total in (0, math.inf):
            return total
        parts = ((self.of_seeds, self.seeds), (self.of_texts, self.groups))
        free = total**2 / sum(part**2 / (count - 1) for part, count in parts if part > 0)
        return float(stats.t.isf(level / 2, free) * total**0.5)


def _doubt(ours: _Side, theirs: _Side) -> _Doubt:
    """Of ours - theirs, over the seeds that both have."""
    common = sorted(ours.values.keys() & theirs.values.keys())
    count = len(ours.labels)
    for side in (ours, theirs):
        for seed in common:
            if not np.array_equal(side.rows[seed][0], ours.labels):
                folder = side.runs[seed].folder
                raise RunError(f"no verdict: {folder} was evaluated on other texts")
    order = np.random.default_rng(0).permutation(count)
    groups = np.array_split(order, min(_GROUPS, count)) if count > 1 else []
    left = [np.setdiff1d(order, group) for group in groups]
    without = [ours.mean_on(common, texts) - theirs.mean_on(common, texts) for texts in left]
    of_texts = (len(groups) - 1) * float(np.var(without)) if groups else math.inf
    by_seed = [ours.values[seed] - theirs.values[seed] for seed in common]
    of_seeds = stdev(by_seed) ** 2 / len(common) if len(common) > 1 else 0.0
    return _Doubt(of_seeds, of_texts, len(common), len(groups))


def _spread(ours: _Side, theirs: _Side, p: float | None) -> str:
    if min(len(ours.values), len(theirs.values)) < 2:
        return ""
    spread = [stdev(side.values.values()) for side in (ours, theirs)]
    sure = "more than chance" if p is not None and p < 0.05 else "which may be chance"
    return (
        f"From seed to seed {ours.shown} varies by {spread[0]:.1f} points, {theirs.shown} by "
        f"{spread[1]:.1f} ({sure})."
    )
