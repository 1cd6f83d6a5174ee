"""Rows of a local file, each a dict; every mistake is told with the file and its line."""

import csv
import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agwm.errors import UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")
_HALF = re.compile("[\ud800-\udfff]")


def find_split(folder: Path, split: str) -> Path:
    """The file of `split` in `folder`; raises `UserError` if there is none, or more than one."""
    if not folder.is_dir():
        raise UserError(f"data_dir: no folder {folder}; it must hold {split}{SUFFIXES[0]}")
    found = [path for suffix in SUFFIXES if (path := folder / f"{split}{suffix}").is_file()]
    if not found:
        names = ", ".join(f"{split}{suffix}" for suffix in SUFFIXES)
        raise UserError(f"data_dir: {folder} holds none of {names}")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise UserError(f"data_dir: {folder} holds both {names}; keep one")
    return found[0]


class Row(dict[str, Any]):
    """Values by column, of a file that has lines; `line` is the one that it begins on."""

    __slots__ = ("line",)

    def __init__(self, values: Iterable[tuple[str, Any]], line: int) -> None:
        super().__init__(values)
        self.line = line


def place(origin: str, number: int, row: dict[str, Any]) -> str:
    """Where a message says that `row` is: rows are counted from 1, without header and blank lines.

    The line is given where another number is found by it.
    """
    line = getattr(row, "line", number)
    return f"{origin}, row {number}" + (f" (line {line})" if line != number else "")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """All rows of a file, in order; see `iterate_rows`.

    Raises:
        UserError: also a file without rows.
    """
    rows = list(iterate_rows(path))
    if not rows:
        raise UserError(f"{path}: holds no rows")
    return rows


def iterate_rows(path: Path, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows of a file, in order; values of .csv and .tsv stay text.

    Args:
        path: of any name where `kind` is given, else of one of `SUFFIXES`.
        kind: "jsonl", "csv", "tsv" or "parquet"; None goes by the name.

    Raises:
        UserError: a file of another kind, one that cannot be read, or a line that is malformed.
    """
    if kind is None and not path.name.endswith(SUFFIXES):
        raise UserError(f"{path}: not one of {', '.join(SUFFIXES)}")
    kind = kind or path.name.removesuffix(".gz").rpartition(".")[2]
    try:
        if kind == "parquet":
            yield from _parquet(path)
            return
        opened = gzip.open if path.suffix == ".gz" else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as lines:
            yield from parse_lines(lines, kind, str(path))
    # ValueError: a name that no file can have.
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise UserError(f"{path}: cannot be read ({reason})") from error


def parse_lines(lines: Iterable[str], kind: str, origin: str) -> Iterator[dict[str, Any]]:
    """Rows of "jsonl", "csv" or "tsv" `lines`, which were opened with newline="".

    Raises:
        UserError: a line that is malformed; it names `origin`.
    """
    checked = text_lines(lines, origin)
    yield from _jsonl(checked, origin) if kind == "jsonl" else _csv(checked, kind, origin)


def text_lines(lines: Iterable[str], origin: str) -> Iterator[str]:
    """`lines` as they are; raises `UserError` at what is no text in UTF-8."""
    try:
        for number, line in enumerate(lines, start=1):
            if "\0" in line:
                raise UserError(f"{origin}, line {number}: holds a NUL byte; save it as UTF-8 text")
            yield line
    except UnicodeDecodeError as error:
        wrong = error.object[error.start : error.start + 1]  # of a block: it knows no line
        raise UserError(
            f"{origin}: not UTF-8 ({error.reason} {wrong!r}); save it as UTF-8"
        ) from error


def _jsonl(lines: Iterable[str], origin: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_object)
            # Only written so can half a character be in a file that is UTF-8.
            if "\\ud" in line.lower() and _HALF.search(json.dumps(row, ensure_ascii=False)):
                raise ValueError("half a character: a surrogate without its other half")
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"{origin}, line {number}: not JSON ({error}); an object a line"
            ) from error
        if not isinstance(row, dict):
            raise UserError(f"{origin}, line {number}: not a JSON object but {line[:40]!r}")
        yield Row(row.items(), number)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(n for n in names if names.count(n) > 1)!r} stands in it twice")
    return found


def _csv(lines: Iterable[str], kind: str, origin: str) -> Iterator[dict[str, Any]]:
    reader = csv.reader(lines, csv.excel_tab if kind == "tsv" else csv.excel, strict=True)
    names: list[str] = []
    start = 1  # of a row, which may go over several lines
    try:
        for cells in reader:
            if cells and not names:
                names = cells
                _check_header(names, origin)
            elif cells:
                if len(cells) != len(names):
                    wanted = f"not {len(names)} cells, as in the header, but {len(cells)}"
                    raise UserError(f"{origin}, line {start}: {wanted}")
                yield Row(zip(names, cells, strict=True), start)
            start = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{origin}, line {start}: not CSV ({error}); is one of its quotes open or alone?"
        ) from error


def _check_header(names: list[str], origin: str) -> None:
    _refuse_twice(names, origin)
    if len(names) == 1 and (other := next((sign for sign in ";\t" if sign in names[0]), None)):
        raise UserError(
            f"{origin}: the cells of its header stand apart by {other!r}; save it with commas, "
            "or as .tsv with tabs"
        )


def _refuse_twice(names: list[str], origin: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"{origin}: its header has {', '.join(map(repr, twice))} twice")


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            _refuse_twice(file.schema_arrow.names, str(path))
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    # ValueError: a string that is not UTF-8, a time that Python does not know.
    except (pyarrow.ArrowException, ValueError) as error:
        raise UserError(f"{path}: not Parquet ({' '.join(str(error).split())})") from error
