"""What runs predicted for the evaluation split, as arrays over seeds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

from agwm.report.records import Run

FILE = "predictions.jsonl"


@dataclass(frozen=True)
class Predictions:
    """Predictions of one or several runs on the same examples."""

    ids: list[int | str]
    predicted: np.ndarray  # (seeds, examples): class codes, or numbers
    scores: np.ndarray  # (seeds, examples, classes): probabilities; one column for regression
    labels: np.ndarray | None = None  # (examples,), as `predicted`; None where there are none

    @property
    def regression(self) -> bool:
        """Whether `predicted` are numbers and not class codes."""
        return self.scores.shape[-1] == 1


def read_predictions(folder: Path) -> Predictions | None:
    """The first split's predictions of one run; None where they are missing or broken."""
    try:
        table = json.read_json(folder / FILE)
        if "split" in table.column_names:  # the headline is the first split's
            table = table.filter(pc.is_null(table["split"]))
        scores = table["scores"].combine_chunks()
        (classes,) = pc.list_value_length(scores).unique().to_pylist()  # one of all examples
        values = pc.list_flatten(scores).to_numpy(zero_copy_only=False)
        found = Predictions(
            table["id"].to_pylist(),
            table["prediction"].to_numpy()[None],
            values.reshape(1, len(scores), classes),
            _labels(table, classes),
        )
    except (OSError, KeyError, ValueError, TypeError, pa.ArrowException):
        return None
    return found if _is_sound(found) else None


def _labels(table: pa.Table, classes: int) -> np.ndarray | None:
    """The labels, if each example has one that can be its class or number."""
    if "label" not in table.column_names:
        return None
    labels = table["label"].to_numpy()
    if not np.issubdtype(labels.dtype, np.number) or not np.isfinite(labels).all():
        return None
    return labels if classes == 1 or np.isin(labels, range(classes)).all() else None


def _is_sound(found: Predictions) -> bool:
    """Whether all are numbers, and with classes their codes and probabilities."""
    for array in (found.predicted, found.scores):
        if not np.issubdtype(array.dtype, np.number) or not np.isfinite(array).all():
            return False
    if found.regression:
        return True
    codes, sums = range(found.scores.shape[-1]), found.scores.sum(-1)
    return bool(
        np.isin(found.predicted, codes).all()
        and (found.scores >= 0).all()
        and (abs(sums - 1) < 1e-3).all()
    )


def stack_predictions(runs: list[Run]) -> Predictions | None:
    """Of several runs; None unless all have predictions of the same examples in one order."""
    found = [read_predictions(run.folder) for run in runs]
    if not found or any(one is None for one in found):
        return None
    first = found[0]
    if any(one.ids != first.ids or one.scores.shape != first.scores.shape for one in found):
        return None
    return Predictions(
        first.ids,
        np.concatenate([one.predicted for one in found]),
        np.concatenate([one.scores for one in found]),
        first.labels,
    )


def is_degenerate(run: Run) -> bool | None:
    """Whether the model predicts the same for every text; None if nobody knows.

    Taken from the record, else from the predictions beside it.
    """
    recorded = run.get("degenerate")
    if recorded is not None:
        return bool(recorded)
    found = read_predictions(run.folder)
    return None if found is None else bool(np.ptp(found.predicted) == 0)
