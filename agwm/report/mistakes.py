"""Where one run's predictions and the labels part: confusion matrix, worst cases, scatter."""

import numpy as np
from matplotlib.figure import Figure

from agwm.report.predictions import Predictions
from agwm.report.style import COLOURS, Plot
from agwm.report.table import Column, Table

_SHOWN = 10


def mistake_tables(found: Predictions, names: list[str] | None) -> list[Table]:
    """What there is to say in tables about the predictions of one run that have labels.

    Args:
        found: of one run, with labels.
        names: of the classes; None where only their codes are known.
    """
    if found.regression:
        return [_far_off(found)]
    classes = found.scores.shape[-1]
    if names is None or len(names) != classes:
        names = [str(code) for code in range(classes)]
    return [_confusion(found, names), _confident_mistakes(found, names)]


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts, (classes, classes): a row for each label, a column for each prediction."""
    places = labels.astype(int) * classes + predicted.astype(int)
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def _confusion(found: Predictions, names: list[str]) -> Table:
    counts = confusion_matrix(found.labels, found.predicted[0], len(names))
    columns = [
        Column("label ↓ prediction →"),
        *(Column(name, "count") for name in names),
        Column("right", "share"),
    ]
    rows = [
        [name, *map(int, row), row[index] / row.sum() if row.sum() else None]
        for index, (name, row) in enumerate(zip(names, counts, strict=True))
    ]
    diagonal = {(index, index + 1) for index in range(len(names))}
    note = (
        f"{counts.sum()} examples, a row for each label; bold: predicted rightly. Right: the share "
        "of a label's examples."
    )
    return Table("confusion", "Confusion matrix", columns, rows, note, bold=diagonal)


def _confident_mistakes(found: Predictions, names: list[str]) -> Table:
    predicted, scores = found.predicted[0].astype(int), found.scores[0]
    labels = found.labels.astype(int)
    wrong = np.flatnonzero(predicted != labels)
    surest = wrong[np.argsort(-scores[wrong, predicted[wrong]], kind="stable")][:_SHOWN]
    columns = [
        Column("id"),
        Column("label"),
        Column("prediction"),
        Column("its probability, %", "percent"),
        Column("the label's, %", "percent"),
    ]
    rows = [
        [
            found.ids[i],
            names[labels[i]],
            names[predicted[i]],
            100 * scores[i, predicted[i]],
            100 * scores[i, labels[i]],
        ]
        for i in surest
    ]
    note = f"The surest of {len(wrong)} among {len(labels)} examples; all are in predictions.jsonl."
    return Table("mistakes", "Most confident mistakes", columns, rows, note)


def _far_off(found: Predictions) -> Table:
    difference = found.predicted[0] - found.labels
    farthest = np.argsort(-abs(difference), kind="stable")[:_SHOWN]
    columns = [
        Column("id"),
        Column("label", "decimal"),
        Column("prediction", "decimal"),
        Column("difference", "difference"),
    ]
    rows = [[found.ids[i], found.labels[i], found.predicted[0, i], difference[i]] for i in farthest]
    note = (
        f"Of {len(difference)} examples, all in predictions.jsonl; mean absolute difference "
        f"{abs(difference).mean():.3g}."
    )
    return Table("mistakes", "Largest differences", columns, rows, note)


def scatter(found: Predictions) -> Plot:
    """Prediction over label, for regression."""
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    ax = figure.subplots()
    ends = [float(end(found.labels)) for end in (np.min, np.max)]
    ax.plot(ends, ends, color="#888888", linewidth=1, linestyle="--")
    ax.plot(
        found.labels,
        found.predicted[0],
        "o",
        color=COLOURS[1],
        markersize=3,
        alpha=0.35,
        markeredgewidth=0,
    )
    ax.set_xlabel("label")
    ax.set_ylabel("prediction")
    note = "A dot for each example of the evaluation split; on the dashed line both are equal."
    return Plot("predictions", "Predictions against labels", note, figure)
