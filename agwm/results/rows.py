"""Rows to a file or to standard output, part by part: CSV, TSV, JSONL or Parquet."""

import csv
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TextIO

from agwm.atomic import replacing
from agwm.errors import UserError

Row = dict[str, Any]
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


class Writer(Protocol):
    """Takes rows; all have the columns of the first."""

    formulas: int  # cells that a spreadsheet might take for a formula

    def write(self, rows: list[Row]) -> None:
        """Put `rows` below those before."""


def check_rows_file(option: str, path: Path | None, force: bool) -> None:
    """Refuse, before any work, what `row_writer` could not write to.

    Raises:
        UserError: another suffix, no folder to write to, or a file that is there without `force`.
    """
    if path is not None and path.suffix not in SUFFIXES:
        raise UserError(f"{option} {path}: must end in one of {', '.join(SUFFIXES)}")
    check_free(option, path, force)


def check_free(option: str, path: Path | None, force: bool) -> None:
    """Raise `UserError` if `path` has no folder, or is there and not to be replaced by `force`."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"{option} {path}: no folder {path.parent}; make it first")
    if path.is_dir():
        raise UserError(f"{option} {path}: is a folder; give a file's name")
    if path.exists() and not force:
        raise UserError(f"{option} {path}: is there already; --force replaces it")


@contextmanager
def row_writer(path: Path | None, for_spreadsheet: bool = False) -> Iterator[Writer]:
    """A writer to `path`, which is there whole or not at all; None is CSV to standard output.

    Args:
        path: of the file.
        for_spreadsheet: in CSV and TSV, put an apostrophe before what may be a formula.
    """
    if path is None:
        yield _Delimited(sys.stdout, csv.excel, for_spreadsheet)
        return
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            writer = _Parquet(temporary, path)
            try:
                yield writer
            finally:
                writer.close()
            return
        with temporary.open("w", encoding="utf-8", newline="") as file:
            if path.suffix == ".jsonl":
                yield _Jsonl(file)
            else:
                dialect = csv.excel_tab if path.suffix == ".tsv" else csv.excel
                yield _Delimited(file, dialect, for_spreadsheet)


def warn_of_formulas(writer: Writer) -> None:
    """Say on stderr how many cells of what was written might be taken for formulas."""
    if writer.formulas:
        print(
            f"warning: cells that begin with = + - or @: {writer.formulas}; a spreadsheet may take "
            "them for formulas: import them as text, or give --for-spreadsheet",
            file=sys.stderr,
        )


class _Delimited:
    """Cells are written as they are: one that begins with = is data, and to be read back so.

    Unless it is not to be read back, but looked at in a spreadsheet.
    """

    def __init__(self, file: TextIO, dialect: type[csv.Dialect], for_spreadsheet: bool) -> None:
        self.formulas = 0
        self.for_spreadsheet = for_spreadsheet
        self.columns: list[str] | None = None
        self.rows = 0
        self.plain = csv.writer(file, dialect, lineterminator="\n")
        # Beside "\n" as the end of a line the module leaves a bare "\r" unquoted.
        self.quoted = csv.writer(file, dialect, lineterminator="\n", quoting=csv.QUOTE_ALL)

    def write(self, rows: list[Row]) -> None:
        if self.columns is None and rows:
            self.columns = list(rows[0])
            self._line(self.columns)
        for row in rows:
            self.rows += 1
            further = [name for name in row if name not in self.columns]
            if further:
                raise UserError(
                    f"row {self.rows}: has {further[0]!r}, which the first row has not; "
                    "-o FILE.jsonl can hold it"
                )
            self._line([_cell(row.get(name)) for name in self.columns])

    def _line(self, cells: list[str]) -> None:
        if self.for_spreadsheet:
            cells = [without_formula(cell) for cell in cells]
        self.formulas += sum(_may_be_formula(cell) for cell in cells)
        writer = self.quoted if any("\r" in cell for cell in cells) else self.plain
        writer.writerow(cells)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict | list | bool):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def without_formula(cell: str) -> str:
    """`cell`, made text by an apostrophe where a spreadsheet might take it for a formula."""
    return f"'{cell}" if _may_be_formula(cell) else cell


def _may_be_formula(cell: str) -> bool:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        float(cell)
    except ValueError:
        return True
    return False


class _Jsonl:
    formulas = 0

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def write(self, rows: list[Row]) -> None:
        for row in rows:
            self.file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


class _Parquet:
    """The first rows decide the columns and their types."""

    formulas = 0

    def __init__(self, temporary: Path, path: Path) -> None:
        self.temporary, self.path = temporary, path
        self.writer: Any = None

    def write(self, rows: list[Row]) -> None:
        import pyarrow
        from pyarrow import parquet

        try:
            schema = None if self.writer is None else self.writer.schema
            table = pyarrow.Table.from_pylist(rows, schema)
            if schema is None:
                self.writer = parquet.ParquetWriter(self.temporary, table.schema)
            known = set(self.writer.schema.names)
            further = next((name for row in rows for name in row if name not in known), None)
            if further is not None:
                raise UserError(
                    f"-o {self.path}: some row has {further!r}, which the first has not; "
                    "-o FILE.jsonl can hold it"
                )
            self.writer.write_table(table)
        except pyarrow.ArrowException as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"-o {self.path}: a column's values are not all of one type ({reason}); "
                "-o FILE.jsonl can hold them"
            ) from error

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
