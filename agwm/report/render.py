"""Tables as Markdown, LaTeX and CSV."""

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from agwm.report.table import Column, Table
from agwm.results.markdown import escaped
from agwm.results.rows import without_formula

_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "\N{EN DASH}": "--",
    **{character: "\\" + character for character in "&%$#_{}"},
}
_PAIRS = {"spread": ("mean", "std"), "interval": ("low", "high")}  # two numbers in one cell


def to_markdown(title: str, warnings: Iterable[str], tables: Iterable[Table]) -> str:
    """One document with all tables."""
    parts = [f"# {escaped(title)}", *(f"- {escaped(line)}" for line in warnings)]
    return "\n\n".join([*parts, *map(_markdown_table, tables)]) + "\n"


def _markdown_table(table: Table) -> str:
    rules = ["---" if column.is_text else "---:" for column in table.columns]
    lines = [[escaped(column.name) for column in table.columns], rules]
    for number, row in enumerate(table.texts()):
        cells = map(escaped, row)
        lines.append([f"**{c}**" if (number, i) in table.bold else c for i, c in enumerate(cells)])
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines) if table.rows else "none"
    return f"## {escaped(table.title)}\n\n{body}\n\n{escaped(table.note)}".rstrip()


def to_latex(tables: Iterable[Table]) -> str:
    r"""All tables with booktabs, each ready to be \input or copied."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(map(_latex_table, tables))


def _latex_table(table: Table) -> str:
    kinds = "".join("l" if column.is_text else "r" for column in table.columns)
    lines = [_latex_row(column.name for column in table.columns), r"\midrule"]
    for number, row in enumerate(table.texts()):
        if table.starts_block(number):
            lines.append(r"\addlinespace")
        lines.append(_latex_row(row, {i for r, i in table.bold if r == number}))
    body = "\n".join(lines)
    caption = _latex(f"{table.title}. {table.note}".strip())
    return (
        f"\\begin{{table}}\n\\caption{{{caption}}}\n\\begin{{tabular}}{{{kinds}}}\n\\toprule\n"
        f"{body}\n\\bottomrule\n\\end{{tabular}}\n\\end{{table}}\n"
    )


def _latex_row(texts: Iterable[str], bold: Iterable[int] = ()) -> str:
    cells = [_latex(text) for text in texts]
    for index in bold:
        cells[index] = rf"\textbf{{{cells[index]}}}"
    # Braces: a bracket at the start of a row would be read as an option of \\.
    return " & ".join(f"{{{c}}}" if c.startswith("[") else c for c in cells) + r" \\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def to_csv(table: Table) -> str:
    """Unrounded values of a table, see `flat`."""
    names, rows = flat(table)
    return csv_text([names, *rows])


def flat(table: Table) -> tuple[list[str], list[list[Any]]]:
    """Names and unrounded rows; a mean with its deviation and an interval take two columns each."""
    names = [name for column in table.columns for name in _flat_names(column)]
    rows = [
        [cell for c, value in zip(table.columns, row, strict=True) for cell in _flat(c, value)]
        for row in table.rows
    ]
    return names, rows


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV; None is empty, and no text can be taken for a formula."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([_harmless(v) for v in row] for row in rows)
    return out.getvalue()


def _flat_names(column: Column) -> Iterator[str]:
    if column.kind in _PAIRS:
        yield from (f"{column.name} {part}" for part in _PAIRS[column.kind])
    else:
        yield column.name


def _flat(column: Column, value: Any) -> tuple:
    if column.kind in _PAIRS:
        return (None, None) if value is None else tuple(value)
    return (value,)


def _harmless(value: Any) -> Any:
    return without_formula(value) if isinstance(value, str) else value
