"""A table of typed columns: what is in it, apart from how it is printed."""

from dataclasses import dataclass, field
from decimal import Decimal
from textwrap import wrap
from typing import Any, NamedTuple

MISSING = "\N{EN DASH}"


class Column(NamedTuple):
    """Name and kind of a column; the kind says how a value is written, see `format_value`."""

    name: str
    kind: str = "text"

    @property
    def is_text(self) -> bool:
        """Whether it is written to the left, as names are."""
        return self.kind == "text"


@dataclass
class Table:
    """One table; a value is None where it is not defined.

    The first `keys` columns name a row. `blocks` of them name a group of rows, kept together.
    """

    name: str
    title: str
    columns: list[Column]
    rows: list[list[Any]]
    note: str = ""
    keys: int = 1
    blocks: int = 0
    bold: set[tuple[int, int]] = field(default_factory=set)  # (row, column)

    def texts(self) -> list[list[str]]:
        """The rows as they are printed."""
        return [
            [format_value(c.kind, value) for c, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def starts_block(self, row: int) -> bool:
        """Whether a rule belongs above `row`."""
        names = slice(0, self.blocks)
        return row > 0 and self.rows[row][names] != self.rows[row - 1][names]


def format_value(kind: str, value: Any) -> str:
    """`value` as people read it.

    Kinds: `text`, `count`, `percent`, `difference` (signed), `spread` (mean and standard
    deviation), `interval`, `p`, `share` (0 to 1, in percent), `ratio`, `decimal` (three digits),
    `exact` (unrounded).
    """
    if value is None:
        return MISSING
    match kind:
        case "text" | "count":
            return str(value)
        case "difference":
            return f"{_decimal(value):+.2f}"
        case "spread":
            mean, std = value
            text = f"{_decimal(mean):.2f}"
            return text if std is None else f"{text} ± {_decimal(std):.2f}"
        case "interval":
            return "[{:.2f}, {:.2f}]".format(*map(_decimal, value))
        case "p":
            return "<0.001" if value < 0.001 else f"{value:.3f}"
        case "share":
            return f"{100 * value:.0f} %"
        case "percent" | "ratio":
            return f"{_decimal(value):.2f}"
        case "exact":
            return f"{value:.6g}"
        case "decimal":
            return f"{value:.3g}"
    raise ValueError(f"no kind of column is called {kind!r}")


def _decimal(value: float) -> Decimal:
    """As it is written, so that 62.535, which is 62.53499... in binary, rounds to 62.54."""
    return Decimal(repr(round(float(value), 9)))


def seeds_text(seeds: tuple[int, ...]) -> str | None:
    """Seeds as a list; None if there are none."""
    return ", ".join(map(str, seeds)) or None


def n_train_text(n_train: int | None) -> str | int:
    """Number of examples, "full" for all."""
    return "full" if n_train is None else n_train


def fold_name(text: str, width: int) -> str:
    """`text` in lines of at most `width`, broken before a plus where that can be."""
    if len(text) <= width:
        return text
    lines = wrap(text.replace("+", " +"), width)
    return "\n".join(line.replace(" +", "+") for line in lines)
