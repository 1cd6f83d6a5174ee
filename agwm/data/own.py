"""Own data: what the columns and labels of a file are, and which of its rows are held out."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from agwm.config import RunConfig, Task
from agwm.data.examples import Examples, finite, label_name, to_examples
from agwm.data.files import place, read_rows
from agwm.data.texts import usual_columns
from agwm.errors import UserError, require
from agwm.seeding import stream

_LABELS = ("label", "labels", "class", "category", "target", "sentiment", "rating", "score", "y")
# Whole numbers up to this many different ones are taken for classes.
_MOST_NUMBERED_CLASSES = 20
# Accuracy says little where one class is so much more frequent than another.
_IMBALANCE = 3


def settled(config: RunConfig) -> RunConfig:
    """`config` with what its own data says of itself filled in; other tasks stay as they are.

    Raises:
        UserError: a file that cannot be read, or that holds no labelled texts.
    """
    return config if config.task.train is None else replace(config, task=_settled(config.task))


def _settled(task: Task) -> Task:
    path = Path(task.train)
    rows = _rows(task.train)
    columns = _text_columns(task, rows[0])
    label = task.label or _label_column(path, rows[0], columns)
    require(label in rows[0], "task.label", label, f"a column of {path}: {', '.join(rows[0])}")
    require(label not in columns, "task.label", label, "another column than the text's")
    names = [label_name(row.get(label)) for row in rows]
    kind = task.kind or _kind(task, [name for name in names if name])
    labels = _labels(task, path, label, names) if kind == "classification" else None
    return replace(
        task,
        name=re.sub(r"[^\w.-]+", "_", _stem(path)) if task.name == "file" else task.name,
        columns=columns,
        label=label,
        kind=kind,
        labels=labels,
        metrics=task.metrics or _metrics(labels, names),
        # Null for classes: the hashes of their runs stay as they were.
        standardize=True if labels is None and task.standardize is None else task.standardize,
        digest=_digest([task.train, *filter(None, [task.validation])]),
    )


def load_own(task: Task, split: str) -> Examples:
    """Examples of `split`, "train" or the evaluation's, of settled own data; ids are row numbers.

    Without a file for evaluation, a share of each class (of each fifth, for numbers) is held out,
    always the same rows; equal texts stay together.

    Raises:
        UserError: naming the row of a text or label that is none, or of a class that is too small.
    """
    train = split == "train"
    path = task.train if train or task.validation is None else task.validation
    examples = to_examples(_rows(path), task, path)
    if task.labels is None and len(set(examples.labels)) == 1:
        number = examples.labels[0]
        raise UserError(f"{path}: holds one number alone, {number:g}: nothing to rank or to learn")
    if task.validation is not None:
        return examples
    held_out = _held_out(examples, task)
    return examples.take([row for row in range(len(examples)) if (row in held_out) != train])


def _rows(path: str) -> list[dict[str, Any]]:
    try:
        changed = Path(path).stat().st_mtime_ns
    except (OSError, ValueError):
        changed = 0  # which reading it tells in its words
    return _cached_rows(path, changed)


@lru_cache(maxsize=4)
def _cached_rows(path: str, changed: int) -> list[dict[str, Any]]:
    """Read once for a sweep's many runs; again if the file has changed."""
    return read_rows(Path(path))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").rpartition(".")[0] or path.name


def _text_columns(task: Task, row: dict[str, Any]) -> list[str]:
    path = task.train
    if task.text is not None:
        given = task.text if isinstance(task.text, list) else [task.text]
        require(len(given) in (1, 2), "task.text", given, "a column or [a,b], a pair's")
        columns = [str(column) for column in given]
        for column in columns:
            require(column in row, "task.text", column, f"a column of {path}: {', '.join(row)}")
        return columns
    unlabelled = [name for name in row if name != task.label]
    if found := usual_columns(unlabelled):
        return found
    others = [name for name in unlabelled if name.lower() not in _LABELS]
    if len(others) == 1:
        return others
    there = ", ".join(row) or "none"
    raise UserError(f"{path}: which column holds the text? task.text=COLUMN, of {there}")


def _label_column(path: Path, row: dict[str, Any], columns: list[str]) -> str:
    others = [name for name in row if name not in columns]
    known = {name.lower(): name for name in others}
    for name in _LABELS:
        if name in known:
            return known[name]
    if len(others) == 1:
        return others[0]
    found = ", ".join(others) or "none besides the text's"
    raise UserError(f"{path}: which column holds the label? task.label=COLUMN, of {found}")


def _kind(task: Task, names: Sequence[str]) -> str:
    """Regression for fractions and for many different numbers; names and few codes are classes."""
    if task.labels is not None:
        return "classification"
    numbers = [finite(name) for name in set(names)]
    if None in numbers:
        return "classification"
    whole = all(number == int(number) for number in numbers)
    return "classification" if whole and len(numbers) <= _MOST_NUMBERED_CLASSES else "regression"


def _labels(task: Task, path: Path, column: str, names: list[str]) -> list[str]:
    """Names of the classes in the order of their codes: as given, else sorted."""
    if task.labels is not None:
        # The configuration writes true as True.
        truth = {"True": "true", "False": "false"} if {"true", "false"} & set(names) else {}
        return [truth.get(name, label_name(name)) for name in task.labels]
    found = set(filter(None, names))
    if len(found) < 2:
        alone = f"one label alone: {found.pop()!r}" if found else "no labels"
        raise UserError(f"{path}: column {column!r} holds {alone}; two are needed")
    if len(found) > len(names) / 2:
        raise UserError(
            f"{path}: column {column!r} holds {len(found)} different labels in {len(names)} rows; "
            "give task.label=COLUMN, or task.kind=regression if they are numbers"
        )
    numbered = all(finite(name) is not None for name in found)
    return sorted(found, key=(lambda name: (finite(name), name)) if numbered else None)


def _metrics(labels: list[str] | None, names: list[str]) -> list[str]:
    """Accuracy first; Matthews correlation first where the classes are of very unequal size."""
    if labels is None:
        return ["spearman", "pearson"]
    counts = [names.count(label) for label in labels]
    if max(counts) > _IMBALANCE * min(counts):
        return ["matthews_corrcoef", "macro_f1", "accuracy"]
    return ["accuracy", "macro_f1", "matthews_corrcoef"]


def _digest(paths: Iterable[str]) -> str:
    """Twelve hex digits over the content of the files."""
    total = hashlib.sha256()
    for path in paths:
        try:
            total.update(hashlib.sha256(Path(path).read_bytes()).digest())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error})") from error
    return total.hexdigest()[:12]


def _held_out(examples: Examples, task: Task) -> set[int]:
    """Rows held out. Our own draw: scikit-learn's promises no example of a rare class to each side.

    The stream's seed is a constant: all seeds of a study are evaluated on the same texts.
    """
    strata = _strata(examples, task)
    same: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, texts in enumerate(examples.texts):
        same[texts].append(row)
    groups: dict[int, list[list[int]]] = defaultdict(list)
    for rows in same.values():
        groups[strata[rows[0]]].append(rows)
    chosen: set[int] = set()
    for stratum, found in sorted(groups.items()):
        if len(found) < 2:
            if task.labels is None:
                raise UserError(
                    f"{task.train}: too few different texts to hold some out of each fifth of the "
                    "numbers; add more, or give task.validation"
                )
            row, name = examples.ids[found[0][0]], task.labels[stratum]
            where = place(task.train, row, _rows(task.train)[row - 1])
            raise UserError(
                f"{where}: {name!r} stands beside one text alone, which cannot be "
                "both learned from and tested on; correct it, add more, or give task.validation"
            )
        wanted = task.held_out * sum(map(len, found))
        taken = 0
        for position, group in enumerate(stream(0, "held_out", stratum).permutation(len(found))):
            rows = found[group]
            # One group at least, and never the last.
            if position and (taken + len(rows) / 2 > wanted or position == len(found) - 1):
                break
            chosen.update(rows)
            taken += len(rows)
    return chosen


def _strata(examples: Examples, task: Task) -> list[int]:
    """Class of each row; for numbers the fifth of the rows that it belongs to."""
    if task.labels is not None:
        return list(examples.labels)
    count = len(examples)
    strata = [0] * count
    for rank, row in enumerate(sorted(range(count), key=lambda row: examples.labels[row])):
        strata[row] = 5 * rank // count
    return strata
