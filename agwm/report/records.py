"""Run records as they lie on disk, checked before anything is computed from them."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from agwm.errors import UserError
from agwm.results.record import FILE, SCHEMA_VERSION


class CellKey(NamedTuple):
    """What the runs of one mean have in common."""

    model: str
    n_train: int | None  # None = all the data
    method: str  # with its variant: "agwm+num_searches=2"
    task: str


@dataclass(frozen=True)
class Run:
    """One readable record; a failed one has no value."""

    folder: Path
    cell: CellKey
    seed: int
    value: float | None  # headline, percent
    record: dict[str, Any]

    def get(self, *path: str) -> Any:
        """An optional field of the record, None where it is missing: `get("cost", "seconds")`."""
        found: Any = self.record
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found


@dataclass(frozen=True)
class Records:
    """All that was found under the given paths."""

    ok: list[Run]
    failed: list[Run]
    unreadable: list[tuple[Path, str]]  # file, and why


def read_records(paths: Iterable[Path]) -> Records:
    """Every record at or below `paths`, each file once.

    Raises:
        UserError: no record, two runs of one cell and seed, two configurations in one cell, or
            a schema version that is not this program's.
    """
    files = sorted({file.resolve(): file for path in paths for file in _find(path)}.values())
    if not files:
        raise UserError(f"{' '.join(map(str, paths))}: no {FILE} at or below; give runs' folders")
    runs, unreadable = [], []
    for file in files:
        try:
            runs.append(_read(file))
        except (OSError, ValueError, TypeError, KeyError) as error:
            unreadable.append((file, _reason(error)))
    _require_known_schema(runs)
    ok = [run for run in runs if run.value is not None]
    _refuse_duplicates(ok)
    _refuse_mixed_cells(ok)
    return Records(ok, [run for run in runs if run.value is None], unreadable)


def _find(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise UserError(f"{path}: no such file or folder; give runs' folders")
    for folder, below, files in os.walk(path):
        if FILE in files:
            yield Path(folder, FILE)
            below.clear()  # a run's own model and logs hold no runs


def _read(file: Path) -> Run:
    record = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    _require_types(record)
    value = None
    if record["status"] == "ok":
        value = float(record["headline"]["value"])
        if not math.isfinite(value):
            raise ValueError(f"headline value is {value}")
    method = "+".join([record["method"], *map(str, record.get("variant") or [])])
    cell = CellKey(record["model"], record["n_train"], method, record["task"])
    return Run(file.parent, cell, record["seed"], value, record)


def _require_types(record: dict[str, Any]) -> None:
    for name in ("task", "model", "method", "status"):
        if not isinstance(record[name], str):
            raise ValueError(f"{name} is {record[name]!r}, no text")
    for name in ("seed", "schema_version", "n_train"):
        is_all = name == "n_train" and record[name] is None
        if not is_all and not isinstance(record[name], int):
            raise ValueError(f"{name} is {record[name]!r}, no whole number")
    if record["status"] not in ("ok", "failed"):
        raise ValueError(f'status is {record["status"]!r}, not "ok" or "failed"')


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _require_known_schema(runs: list[Run]) -> None:
    first = {run.record["schema_version"]: run for run in reversed(runs)}
    if len(first) > 1:
        (a, run), (b, other) = list(first.items())[:2]
        raise UserError(
            f"{run.folder} has schema version {a} and {other.folder} {b}; report them apart"
        )
    for version, run in first.items():
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{run.folder}: schema version {version!r}, known is {SCHEMA_VERSION}; "
                "use the version of agwm that wrote it"
            )


def _refuse_duplicates(runs: list[Run]) -> None:
    seen: dict[tuple[CellKey, int], Run] = {}
    for run in runs:
        other = seen.setdefault((run.cell, run.seed), run)
        if other is not run:
            raise UserError(
                f"{other.folder} and {run.folder} are the same cell and seed {run.seed}; "
                "report one of them"
            )


def _refuse_mixed_cells(runs: list[Run]) -> None:
    by_cell: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        if run.get("cell_hash"):  # older records have none
            by_cell[run.cell].append(run)
    for first, *others in by_cell.values():
        for other in others:
            if other.get("cell_hash") != first.get("cell_hash"):
                raise UserError(
                    f"{first.folder} and {other.folder} are one cell of two configurations "
                    f"({first.get('cell_hash')}, {other.get('cell_hash')}); report one of them"
                )
