"""The labelled texts of a task's split, checked, from wherever they come."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from agwm.config import Task
from agwm.data.acceptability import generate
from agwm.data.files import find_split, place, read_rows
from agwm.errors import UserError
from agwm.shown import short_repr

_WHOLE = re.compile(r"^([+-]?\d+)\.0+$")


@dataclass(frozen=True)
class Examples:
    """Columns of equal length."""

    ids: list[Any]
    texts: list[tuple[str, ...]]  # one text, or two of a pair
    labels: list[int] | list[float]
    groups: list[str] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Sequence[int]) -> "Examples":
        """The examples at `indices`, in that order."""

        def pick(column: list[Any]) -> list[Any]:
            return [column[index] for index in indices]

        groups = None if self.groups is None else pick(self.groups)
        return Examples(pick(self.ids), pick(self.texts), pick(self.labels), groups)

    def digest(self, ordered: bool = False) -> str:
        """Twelve hex digits over ids, texts and labels; whatever their order, unless `ordered`."""
        rows = [json.dumps(row) for row in zip(self.ids, self.texts, self.labels, strict=True)]
        if not ordered:
            rows.sort()
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()[:12]


_generated = cache(generate)  # one drawing has both splits


def load_examples(task: Task, split: str, data_dir: str | None) -> Examples:
    """Checked examples of one split.

    Args:
        task: its columns and labels, and whether it is generated or where it lies on the Hub.
        split: "train", "validation", ...
        data_dir: folder with a folder for each task, or None for the Hub.

    Raises:
        UserError: missing or malformed file, missing column, text that is none, unknown label.
    """
    if task.generated:
        rows, origin = _generated()[split], f"task {task.name}"
    elif data_dir is not None:
        path = find_split(Path(data_dir) / task.name, split)
        rows, origin = read_rows(path), str(path)
    else:
        rows, origin = _from_hub(task, split), f"{task.hub}, {task.name}, {split}"
    return to_examples(rows, task, origin)


def to_examples(rows: list[dict[str, Any]], task: Task, origin: str) -> Examples:
    """Checked examples of `rows`, which come from `origin`.

    Raises:
        UserError: missing column, text that is none, unknown label; with the number of the row.
    """
    for column in filter(None, [*task.columns, task.label or "label", task.group_by]):
        if column not in rows[0]:
            raise UserError(f"{origin}: no column {column!r} among {', '.join(map(repr, rows[0]))}")
    own = task.train is not None  # its messages and its predictions speak of the same row
    return Examples(
        ids=[number + 1 if own else row.get("idx", number) for number, row in enumerate(rows)],
        texts=[_texts(row, task, origin, number) for number, row in enumerate(rows, start=1)],
        labels=[_label(row, task, origin, number) for number, row in enumerate(rows, start=1)],
        groups=[row[task.group_by] for row in rows] if task.group_by else None,
    )


def _texts(row: dict[str, Any], task: Task, origin: str, number: int) -> tuple[str, ...]:
    texts = tuple(row.get(column) for column in task.columns)
    for column, text in zip(task.columns, texts, strict=True):
        # One half of a pair may be empty, as some of qqp's are; own data is told of it, and runs.
        empty = task.train is None and not "".join(map(str, texts)).strip()
        if not isinstance(text, str) or empty:
            where = place(origin, number, row)
            raise UserError(f"{where}: {column} is {short_repr(text)}, not a text")
    return texts


def _label(row: dict[str, Any], task: Task, origin: str, number: int) -> int | float:
    given = row.get(task.label or "label")

    def refused(wanted: str) -> UserError:
        where = place(origin, number, row)
        return UserError(f"{where}: label is {short_repr(given)}, not {wanted}")

    if task.train is not None and task.labels is not None:
        if isinstance(given, list | dict | bytes):
            raise refused("a name or a number")
        if (name := label_name(given)) in task.labels:
            return task.labels.index(name)
        raise refused("one of " + ", ".join(task.labels))
    value = finite(given)
    if task.labels is None:
        if value is None:
            raise refused("a number")
        return value
    if value not in range(len(task.labels)):
        codes = (f"{code} ({name})" for code, name in enumerate(task.labels))
        raise refused("one of " + ", ".join(codes))
    return int(value)


def label_name(given: Any) -> str:
    """A label as a name, however it is written: 1, 1.0, "1.0" and " 1" are one; none is ""."""
    if given is None or given != given:
        return ""
    if isinstance(given, bool):
        return str(given).lower()
    if isinstance(given, list | dict | bytes):
        return short_repr(given)  # no label, which is told with its row; however deep it is
    if isinstance(given, float) and given.is_integer():
        given = int(given)
    return _WHOLE.sub(r"\1", str(given).strip())


def finite(given: Any) -> float | None:
    """The number that a label is, or None: no truth value, nor what only Python takes for one."""
    if isinstance(given, bool | bytes) or (isinstance(given, str) and "_" in given):
        return None
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return value if math.isfinite(value) else None


def _from_hub(task: Task, split: str) -> list[dict[str, Any]]:
    # A second's import that local files do not need.
    from datasets import load_dataset

    if task.hub is None:
        raise UserError(f"task={task.name}: not on the Hub; give data_dir=FOLDER")
    try:
        return load_dataset(task.hub, task.name, split=split).to_list()
    # The library's own errors for no network, no such data set and no such split share no base.
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"task={task.name}: {task.hub} cannot be had from the Hub; give data_dir=FOLDER with "
            f"{task.name}/train.jsonl and {task.name}/{task.evaluation[0]}.jsonl, or fetch it once "
            f"where there is a network ({' '.join(str(error).split())[:200]})"
        ) from error
