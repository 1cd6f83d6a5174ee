"""How good predictions are: metrics, an interval over examples, and measures of each class."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import bootstrap
from sklearn.metrics import (
    classification_report,
    confusion_matrix,
    mean_absolute_error,
    r2_score,
    root_mean_squared_error,
)

from agwm.config import CLASS_METRICS, REGRESSION_METRICS, Task
from agwm.errors import RunError, UserError
from agwm.training.metrics import score

_RESAMPLES = 1000
_AT_ONCE = 1_000_000  # indices, 8 bytes each


@dataclass
class Quality:
    """Metrics in [-1, 1], errors in the unit of the labels; None where one is undefined."""

    headline: str
    interval: tuple[float, float] | None  # 95 %, of the headline, over the examples
    metrics: dict[str, float | None]  # the headline first
    labels: list[str] | None = None  # None = regression
    errors: dict[str, float | None] = field(default_factory=dict)  # of a regression
    per_class: dict[str, dict[str, float]] = field(default_factory=dict)
    confusion: list[list[int]] = field(default_factory=list)  # [label][prediction], examples

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def metric_names(declared: Sequence[str], labels: list[str] | None) -> list[str]:
    """Metrics that fit the labels, the declared ones first.

    Raises:
        UserError: a declared one that does not fit.
    """
    if labels is None:
        fitting = list(REGRESSION_METRICS)
    else:
        fitting = list(CLASS_METRICS)
        if len(labels) > 2:
            fitting.remove("f1")
    for name in declared:
        if name not in fitting:
            raise UserError(f"metrics={name}: must be one of {', '.join(fitting)}")
    return list(dict.fromkeys([*declared, *fitting]))


def measure(
    predicted: Sequence[float],
    target: Sequence[float],
    labels: list[str] | None,
    declared: Sequence[str] = (),
) -> Quality:
    """Everything that is told of a model's predictions.

    Args:
        predicted: class codes, or numbers; (examples,).
        target: likewise.
        labels: names in the order of their codes; None = regression.
        declared: metrics to come first; the first of all is the headline.

    Raises:
        UserError: a declared metric that does not fit the labels.
    """
    names = metric_names(declared, labels)
    task = Task("evaluation", ["text"], labels, names, ["file"])
    predicted, target = np.asarray(predicted), np.asarray(target)
    found = Quality(
        headline=names[0],
        interval=_interval(names[0], predicted, target, task),
        metrics={name: _score(name, predicted, target, task) for name in names},
        labels=labels,
    )
    if labels is None:
        found.errors = {
            "mean absolute error": float(mean_absolute_error(target, predicted)),
            "root mean squared error": float(root_mean_squared_error(target, predicted)),
            # Of one example, or of equal ones, there is no variance to explain.
            "R squared": float(r2_score(target, predicted)) if np.ptp(target) else None,
        }
        return found
    codes = list(range(len(labels)))
    report = classification_report(
        target, predicted, labels=codes, target_names=labels, output_dict=True, zero_division=0
    )
    for code, name in enumerate(labels):
        found.per_class[name] = {
            "precision": float(report[name]["precision"]),
            "recall": float(report[name]["recall"]),
            "f1": float(report[name]["f1-score"]),
            "examples": int((target == code).sum()),
            "predicted": int((predicted == code).sum()),
        }
    found.confusion = confusion_matrix(target, predicted, labels=codes).tolist()
    return found


def _score(name: str, predicted: np.ndarray, target: np.ndarray, task: Task) -> float | None:
    try:
        return score(name, predicted, target, task)
    except RunError:
        return None


def _interval(
    name: str, predicted: np.ndarray, target: np.ndarray, task: Task
) -> tuple[float, float] | None:
    """95 % percentile bootstrap over examples; None where a resample has no such metric."""
    if len(target) < 2:
        return None

    def statistic(predicted: np.ndarray, target: np.ndarray) -> float:
        value = _score(name, predicted, target, task)
        return np.nan if value is None else value

    resampled = bootstrap(
        (predicted, target),
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=_RESAMPLES,
        batch=max(1, _AT_ONCE // len(target)),
        method="percentile",
        rng=0,
    )
    low, high = resampled.confidence_interval
    return (float(low), float(high)) if np.isfinite([low, high]).all() else None
