"""The labels of a file, as codes of a model that exists already."""

from typing import Any

from agwm.data.examples import finite, label_name
from agwm.data.files import place
from agwm.errors import UserError
from agwm.shown import short_repr

_SHOWN = 10  # names in a message


class Targets:
    """Labels that are all names or all codes, or all numbers.

    Which of the two is known when all were seen: a file may well hold "1" and "2" alone.

    Args:
        labels: names in the order of their codes; None = numbers.
        column: that holds them.
        origin: for messages.
    """

    def __init__(self, labels: list[str] | None, column: str, origin: str) -> None:
        self.labels, self.column, self.origin = labels, column, origin
        self._names = {label_name(name): code for code, name in enumerate(labels or ())}
        if len(self._names) < len(labels or ()):
            raise UserError(
                f"the model's labels {', '.join(labels)} are not told apart in a file; rename one"
            )
        self._codes = {str(code): code for code in range(len(labels or ()))}
        self._readings = [self._names, self._codes]

    @property
    def are_codes(self) -> bool:
        """Whether the labels seen are codes and not names."""
        return self.labels is not None and self._readings[0] is self._codes

    def check(self, row: dict[str, Any], number: int) -> None:
        """See the label of row `number`; raises `UserError` if it does not go with the others."""
        where = place(self.origin, number, row)
        if self.column not in row:
            there = ", ".join(map(repr, row))
            raise UserError(f"{where}: no column {self.column!r} among {there}; --label names it")
        given = row[self.column]
        if self.labels is None:
            if finite(given) is None:
                raise UserError(f"{where}: {self.column} is {short_repr(given)}, not a number")
            return
        fitting = [reading for reading in self._readings if label_name(given) in reading]
        if not fitting:
            names = ", ".join(self.labels[:_SHOWN]) + (", ..." if self.labels[_SHOWN:] else "")
            mixed = len(self._readings) == 1 and any(
                label_name(given) in reading for reading in (self._names, self._codes)
            )
            before = " while those before are " + ("codes" if self.are_codes else "names")
            raise UserError(
                f"{where}: {self.column} is {short_repr(given)}{before if mixed else ''}; "
                f"the model's labels are {names} (or 0 to {len(self.labels) - 1} throughout)"
            )
        self._readings = fitting

    def values(self, given: list[Any]) -> list[int] | list[float]:
        """Codes or numbers of labels that were all checked."""
        if self.labels is None:
            return [float(label) for label in given]
        return [self._readings[0][label_name(label)] for label in given]
