"""Texts through a model, part by part, under one bar; what `predict` and `evaluate` share."""

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING

from agwm.data.texts import KINDS, Row, Source, open_source, text_columns, texts_of
from agwm.errors import UserError
from agwm.models.folder import ModelFolder
from agwm.shown import shown

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2000  # rows that are held at once
Check = Callable[[Row, int], None]


@dataclass
class Job:
    """Rows to be classified by a model, checked as far as they can be beforehand."""

    folder: ModelFolder
    source: Source
    columns: list[str]  # with the texts
    rows: Iterator[Row]
    check: Check
    total: int | None = None  # None where the rows cannot be counted beforehand
    done: int = 0
    cut: int = 0  # texts longer than the model's limit
    empty: int = 0

    def checked(self) -> Iterator[tuple[Row, tuple[str, ...]]]:
        """Each row with its texts; raises `UserError` with the number of one that will not do."""
        for number, row in enumerate(self.rows, start=1):
            self.check(row, number)
            yield row, texts_of(row, self.columns, self.source, number)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every command that reads texts."""
    parser.add_argument(
        "--text",
        metavar="A[,B]",
        help="column with the text, or two of a pair (those of the training; else guessed)",
    )
    parser.add_argument(
        "--format", choices=KINDS, help="of the input (by its name; of standard input: text)"
    )
    parser.add_argument(
        "--batch-size", type=int, default=32, metavar="N", help="texts at once (%(default)s)"
    )
    parser.add_argument(
        "--for-spreadsheet",
        action="store_true",
        help="in CSV and TSV, an apostrophe before each cell that could be a formula",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps (cuda where there is one)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (torch's own choice)")


def prepare(
    folder: ModelFolder,
    options: argparse.Namespace,
    given: str,
    check: Check,
    label: str | None = None,
) -> Job:
    """Go through the input once, where it can be read again.

    So a mistake in the last row is told before the first is classified, and before torch is
    imported.

    Args:
        folder: with the model.
        options: those of `add_arguments`.
        given: the input's name, or "-".
        check: raises `UserError` on a row that will not do; rows count from 1.
        label: column that holds no text.

    Raises:
        UserError: whatever is wrong with input or options.
    """
    for name in ("batch_size", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')}={value}: must be >= 1")
    wanted = options.text.split(",") if options.text else folder.columns
    if wanted is not None and len(wanted) > 2:
        raise UserError(f"--text={options.text}: must be one column, or two of a pair")
    source = open_source(given, options.format, wanted)
    if source.path is None and sys.stdin.isatty():
        print("reading standard input; Ctrl-D ends it", file=sys.stderr)
    rows = source.rows()
    first = next(rows, None)
    if first is None:
        raise UserError(f"{source.name}: holds no rows")
    columns = text_columns(first, wanted, label or folder.label, source)
    if wanted is None and source.kind != "text":
        print(f"texts: {shown(' and '.join(columns))}", file=sys.stderr)
    job = Job(folder, source, columns, chain([first], rows), check)
    if source.rereadable:
        job.total = sum(1 for _ in job.checked())
        job.rows = source.rows()
    return job


def classified(job: Job, options: argparse.Namespace) -> Iterator[tuple[list[Row], "Tensor"]]:
    """`CHUNK` rows at a time, with their logits (rows, labels), float32; counts into `job`.

    What was cut or empty is said on stderr at the end.

    Raises:
        UserError: a model that cannot be read, or a row that will not do.
        RunError: the model gives something that is no number.
    """
    # Seconds, which a mistake is not to wait for.
    import torch

    from agwm.models.inference import load_classifier

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = load_classifier(job.folder, options.device)
    outputs = len(job.folder.labels or [0])
    rows = job.checked()
    with _bar(job.total) as advance:
        while part := list(islice(rows, CHUNK)):
            texts = [texts for _, texts in part]
            logits, cut = model.logits(texts, options.batch_size, advance)
            if logits.shape[1] != outputs:
                raise UserError(
                    f"MODEL={job.folder.path}: gives {logits.shape[1]} outputs where its "
                    f"config.json names {outputs}"
                )
            job.done += len(part)
            job.cut += cut
            job.empty += sum(not "".join(pair).strip() for pair in texts)
            yield [row for row, _ in part], logits
    if job.cut:
        _warn(job, job.cut, f"longer than {model.max_length} tokens and cut there")
    if job.empty:
        _warn(job, job.empty, "empty and classified all the same")


@contextmanager
def _bar(total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal's stderr; gives what it is advanced by."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    with Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
        disable=not sys.stderr.isatty(),
        transient=True,
        # Of each part the longest come first.
        speed_estimate_period=300,
    ) as bar:
        task = bar.add_task("", total=total)
        yield lambda rows: bar.advance(task, rows)


def _warn(job: Job, count: int, what: str) -> None:
    verb = "is" if count == 1 else "are"
    print(f"warning: {count} of {job.done} texts {verb} {what}", file=sys.stderr)


@dataclass(frozen=True)
class Added:
    """The columns that are added to the input's: `prediction` and, for classes, `p_<label>`.

    Args:
        labels: names in the order of their codes; None = regression.
        prefix: before the names of the columns.
    """

    labels: list[str] | None
    prefix: str = ""

    @property
    def names(self) -> list[str]:
        """The prediction's first."""
        return [
            f"{self.prefix}{name}"
            for name in ("prediction", *(f"p_{label}" for label in self.labels or ()))
        ]

    def refuse_clash(self, row: Row, number: int) -> None:
        """Raise `UserError` if the row has one of the columns already."""
        there = [name for name in self.names if name in row]
        if there:
            raise UserError(
                f"row {number}: has a column {there[0]!r} already, which would be overwritten; "
                "rename it, or give --prefix TEXT for the new ones"
            )

    def to(self, rows: list[Row], logits: "Tensor") -> list[Row]:
        """`rows` with the columns; numbers have seven digits, as many as float32 has."""
        if self.labels is None:
            values = [[_seven(number)] for (number,) in logits.tolist()]
        else:
            values = [
                [self.labels[code], *map(_seven, shares)]
                for code, shares in zip(
                    logits.argmax(-1).tolist(), logits.softmax(-1).tolist(), strict=True
                )
            ]
        return [
            row | dict(zip(self.names, given, strict=True))
            for row, given in zip(rows, values, strict=True)
        ]


def _seven(number: float) -> float:
    return float(f"{number:.7g}")
