"""Texts to be classified: a file or standard input, and which of its columns hold them."""

import io
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agwm.data.files import SUFFIXES, iterate_rows, parse_lines, place, text_lines
from agwm.errors import UserError
from agwm.shown import short_repr

Row = dict[str, Any]
KINDS = ("text", "csv", "tsv", "jsonl", "parquet")

_PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "answer"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("text", "text_pair"),
)
_SINGLE = ("text", "sentence", "review", "comment", "content", "body", "message", "document")
_NO_TEXT = ("label", "labels", "idx", "id")


@dataclass(frozen=True)
class Source:
    """Rows of a file, or of standard input where `path` is None.

    A line of kind "text" is a row with one column, `column`.
    """

    path: Path | None
    kind: str
    column: str = "text"

    @property
    def name(self) -> str:
        """As messages have it."""
        return "standard input" if self.path is None else str(self.path)

    @property
    def rereadable(self) -> bool:
        """Whether it can be gone through twice; standard input and pipes cannot."""
        return self.path is not None and self.path.is_file()

    def rows(self) -> Iterator[Row]:
        """From the first; raises `UserError` as `iterate_rows` does."""
        if self.path is not None and self.kind != "text":
            yield from iterate_rows(self.path, self.kind)
        elif self.path is None:
            # Not closed, as it is not ours.
            lines = io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
            yield from self._parsed(lines)
        else:
            try:
                with self.path.open(encoding="utf-8-sig", newline="") as lines:
                    yield from self._parsed(lines)
            except OSError as error:
                raise UserError(f"{self.path}: cannot be read ({error})") from error

    def _parsed(self, lines: Iterable[str]) -> Iterator[Row]:
        if self.kind != "text":
            yield from parse_lines(lines, self.kind, self.name)
            return
        for line in text_lines(lines, self.name):
            yield {self.column: line.rstrip("\r\n")}


def open_source(given: str, kind: str | None, columns: list[str] | None) -> Source:
    """The source that a command was `given`: a file's name, or "-".

    Args:
        given: on the command line.
        kind: one of `KINDS`; None goes by the file's name, and takes standard input for text.
        columns: the texts' names, where they are known.

    Raises:
        UserError: no such file, a kind that cannot be told or read, or lines where two texts are
            wanted.
    """
    path = None if given == "-" else Path(given)
    if path is not None and not path.exists():
        raise UserError(f"INPUT={given}: no such file; - is standard input")
    if path is not None and path.is_dir():
        raise UserError(f"INPUT={given}: a folder; give a file")
    if path is None and kind is None:
        kind = "text"
    if kind is None:
        known = (".txt", *SUFFIXES)
        suffix = next((suffix for suffix in known if path.name.endswith(suffix)), None)
        if suffix is None:
            raise UserError(f"INPUT={given}: not one of {', '.join(known)}; say which by --format")
        kind = "text" if suffix == ".txt" else suffix.removesuffix(".gz")[1:]
    if path is None and kind == "parquet":
        raise UserError("--format=parquet: cannot be read from standard input; give a file")
    if kind == "text" and columns is not None and len(columns) == 2:
        raise UserError(
            f"INPUT={given}: a line is one text, and {' and '.join(columns)} are wanted; "
            "give --format csv, tsv or jsonl"
        )
    return Source(path, kind, (columns or ["text"])[0])


def text_columns(
    row: Row, wanted: list[str] | None, label: str | None, source: Source
) -> list[str]:
    """Names of the one or two columns with the texts.

    Args:
        row: the first.
        wanted: the names, where they are known. Otherwise usual names are looked for, and then for
            the only column with a text that is no number.
        label: column that holds no text.
        source: of the row.

    Raises:
        UserError: a wanted column is missing, or the names cannot be guessed.
    """
    there = ", ".join(map(repr, row))
    if wanted is not None:
        for name in wanted:
            if name not in row:
                raise UserError(
                    f"{source.name}: no column {name!r} among {there}; --text names the right one"
                )
        return wanted
    if found := usual_columns(row):
        return found
    texts = [name for name, value in row.items() if _may_be_text(name, value, label)]
    if len(texts) != 1:
        raise UserError(f"{source.name}: which of {there} is the text? --text names it")
    if len(texts[0].split()) > 3:
        raise UserError(
            f"{source.name}: {texts[0]!r} looks like a text where the columns' names are wanted; "
            "write a header above it, or give --text if it is one"
        )
    return texts


def usual_columns(names: Iterable[str]) -> list[str] | None:
    """Those of a pair, or the one of a text, by their usual names; None where none stands out."""
    known = {name.lower(): name for name in names}
    for usual in _PAIRS:
        if all(name in known for name in usual):
            return [known[name] for name in usual]
    found = [known[name] for name in _SINGLE if name in known]
    return found if len(found) == 1 else None


def _may_be_text(name: str, value: Any, label: str | None) -> bool:
    if not isinstance(value, str) or name == label or name.lower() in _NO_TEXT:
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def texts_of(row: Row, columns: list[str], source: Source, number: int) -> tuple[str, ...]:
    """The row's texts, which may be empty; raises `UserError` if one is missing or no text."""
    for column in columns:
        text = row.get(column)
        if text is None:
            raise UserError(f"{place(source.name, number, row)}: {column} is missing")
        if not isinstance(text, str):
            where = place(source.name, number, row)
            raise UserError(f"{where}: {column} is {short_repr(text)}, not a text")
    return tuple(row[column] for column in columns)
