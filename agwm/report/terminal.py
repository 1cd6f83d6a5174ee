"""Tables on the terminal; one that is too wide goes on below, with its first columns repeated."""

from collections.abc import Iterator
from textwrap import wrap

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from agwm.report.build import Report
from agwm.report.table import Table, fold_name
from agwm.shown import shown

_GAP = 3  # padding beside a column


def print_report(report: Report, console: Console) -> None:
    """Where the numbers come from, what to be wary of, and all tables."""
    for line in report.facts:
        console.print(Text(line))
    for line in report.warnings:
        console.print(Text(f"warning: {line}", style="yellow"))
    for table in report.tables:
        print_table(table, console)
    console.print()


def print_table(table: Table, console: Console) -> None:
    """Title, rows and note, within the console's width."""
    # A long name is broken, for the numbers beside it to have room.
    texts = [
        [fold_name(text, console.width // 3) for text in row[: table.keys]] + row[table.keys :]
        for row in ([shown(text) for text in row] for row in table.texts())
    ]
    shared = _shared_keys(table, texts)
    names = table.texts()[0] if texts else []
    title = [table.title, *(f"{table.columns[key].name} {names[key]}" for key in shared)]
    console.print()
    console.print(Text(", ".join(title), style="bold"))
    if not texts:
        console.print("none")
    for columns in _parts(table, texts, shared, console.width - 1):
        console.print(_part(table, texts, columns))
    if table.note:
        console.print(Text(table.note, style="dim"))


def _shared_keys(table: Table, texts: list[list[str]]) -> list[int]:
    """Key columns that say the same in every row: their value goes into the title."""
    if len(texts) < 2:
        return []
    return [key for key in range(table.keys) if len({row[key] for row in texts}) == 1]


def _parts(
    table: Table, texts: list[list[str]], shared: list[int], available: int
) -> Iterator[list[int]]:
    """Columns that fit beside the key columns, in turn; empty ones are left out."""
    keys = [key for key in range(table.keys) if key not in shared]
    filled = [
        index
        for index in range(table.keys, len(table.columns))
        if any(row[index] is not None for row in table.rows)
    ]
    left = available - sum(_width(table, texts, key) + _GAP for key in keys)
    part, room = [], left
    for index in filled:
        needed = _width(table, texts, index) + _GAP
        if part and needed > room:
            yield keys + part
            part, room = [], left
        part.append(index)
        room -= needed
    if texts:
        yield keys + part


def _width(table: Table, texts: list[list[str]], index: int) -> int:
    """Of a column's longest value, or of the longest word of its name."""
    lines = [line for row in texts for line in row[index].split("\n")]
    return max(map(len, [*table.columns[index].name.split(), *lines]))


def _part(table: Table, texts: list[list[str]], columns: list[int]) -> RichTable:
    part = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for index in columns:
        is_text = table.columns[index].is_text
        name = wrap(table.columns[index].name, _width(table, texts, index))
        part.add_column(
            Text("\n".join(name)),
            justify="left" if is_text else "right",
            overflow="fold",
            no_wrap=not is_text,
        )
    for number, row in enumerate(texts):
        if table.starts_block(number):
            part.add_section()
        # Text, and not str: names may hold what rich takes for markup.
        cells = [Text(row[i], style="bold" if (number, i) in table.bold else "") for i in columns]
        part.add_row(*cells)
    return part
