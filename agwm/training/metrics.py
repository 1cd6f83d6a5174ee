"""The tasks' metrics, by torchmetrics; each a number in [-1, 1]."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_matthews_corrcoef,
)

from agwm.config import Task
from agwm.data.examples import Examples
from agwm.errors import RunError


def predictions(logits: Tensor, task: Task) -> list[int] | list[float]:
    """Class codes, or the numbers themselves for regression; logits (n, labels)."""
    return logits[:, 0].tolist() if task.labels is None else logits.argmax(-1).tolist()


def scores(logits: Tensor, task: Task) -> list[list[float]]:
    """Probability of each class, (n, labels); for regression the number itself, (n, 1)."""
    return (logits if task.labels is None else logits.softmax(-1)).tolist()


def evaluate(predicted: Sequence[Any], examples: Examples, task: Task) -> dict[str, float]:
    """Each metric of the task, and accuracy within each group where the examples have groups.

    Raises:
        RunError: a metric is undefined, as a correlation with constant predictions is.
    """
    found = {name: score(name, predicted, examples.labels, task) for name in task.metrics}
    for group in sorted(set(examples.groups or ())):
        rows = [index for index, name in enumerate(examples.groups) if name == group]
        hits = sum(predicted[index] == examples.labels[index] for index in rows)
        found[f"accuracy/{group}"] = hits / len(rows)
    return found


def score(name: str, predicted: Sequence[Any], labels: Sequence[Any], task: Task) -> float:
    """One metric; raises `RunError` if it is undefined."""
    if task.labels is None:
        prediction, target = torch.tensor(predicted).double(), torch.tensor(labels).double()
    else:
        prediction, target = torch.tensor(predicted), torch.tensor(labels)
    classes = len(task.labels or ())
    compute = {
        "accuracy": partial(multiclass_accuracy, num_classes=classes, average="micro"),
        "f1": binary_f1_score,
        "macro_f1": partial(multiclass_f1_score, num_classes=classes, average="macro"),
        "matthews_corrcoef": partial(multiclass_matthews_corrcoef, num_classes=classes),
        "pearson": pearson_corrcoef,
        "spearman": spearman_corrcoef,
    }[name]
    constant = prediction.unique().numel() == 1
    if constant and task.labels is None:
        raise RunError(f"{name} is undefined: all predictions are {prediction[0].item():.4g}")
    if name == "matthews_corrcoef" and (constant or target.unique().numel() == 1):
        # 0 by convention; torchmetrics gives a limit that depends on the share of the classes.
        return 0.0
    value = compute(prediction, target).item()
    if not math.isfinite(value):
        raise RunError(f"{name} is {value}")
    return value


def baseline(name: str, constant: float, examples: Examples, task: Task) -> float:
    """The metric of predicting the same for every text; 0 where a constant ranks nothing."""
    if task.labels is None:
        return 0.0
    return score(name, [constant] * len(examples), examples.labels, task)
