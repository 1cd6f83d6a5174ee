"""Rows of a local file, each a dict; every mistake is told with the file and its line."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from agwm.errors import UserError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")


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
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error


def parse_lines(lines: Iterable[str], kind: str, origin: str) -> Iterator[dict[str, Any]]:
    """Rows of "jsonl", "csv" or "tsv" `lines`, which were opened with newline="".

    Raises:
        UserError: a line that is malformed; it names `origin`.
    """
    try:
        yield from _jsonl(lines, origin) if kind == "jsonl" else _csv(lines, kind, origin)
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
            row = json.loads(line)
        except ValueError as error:
            raise UserError(f"{origin}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{origin}, line {number}: not a JSON object but {line[:40]!r}")
        yield row


def _csv(lines: Iterable[str], kind: str, origin: str) -> Iterator[dict[str, Any]]:
    dialect = csv.excel_tab if kind == "tsv" else csv.excel
    reader = csv.DictReader(lines, dialect=dialect, strict=True)
    try:
        names = reader.fieldnames or []
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(f"{origin}: its header has {', '.join(map(repr, twice))} twice")
        if len(names) == 1 and (other := next((sign for sign in ";\t" if sign in names[0]), None)):
            raise UserError(
                f"{origin}: the cells of its header stand apart by {other!r}; save it with commas, "
                "or as .tsv with tabs"
            )
        for row in reader:
            if None in row or None in row.values():
                raise UserError(f"{origin}, line {reader.line_num}: not {len(names)} cells")
            yield row
    except csv.Error as error:
        # The inner reader has counted the line that it failed on.
        number = reader.reader.line_num
        raise UserError(f"{origin}, line {number}: not CSV ({error})") from error


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except pyarrow.ArrowException as error:
        raise UserError(f"{path}: not Parquet ({error})") from error
