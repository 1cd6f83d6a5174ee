"""Run records as they lie on disk, checked before anything is computed from them."""

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from agwm.errors import UserError
from agwm.results.record import COLLAPSED, FILE, SCHEMA_VERSION
from agwm.shown import short_repr


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
        return _field(self.record, *path)


@dataclass(frozen=True)
class Records:
    """All that was found under the given paths."""

    ok: list[Run]
    failed: list[Run]
    unreadable: list[tuple[Path, str]]  # file, and why


def read_records(paths: Iterable[Path], names: Mapping[str, str] | None = None) -> Records:
    """Every record at or below `paths`, each file once.

    Args:
        paths: of records, or folders.
        names: what methods are to be called, by their labels: "agwm+num_searches=2" -> "two".

    Raises:
        UserError: no record, two runs of one cell and seed, or two configurations or two metrics in
            one cell.
    """
    files = sorted({file.resolve(): file for path in paths for file in _find(path)}.values())
    if not files:
        raise UserError(f"{' '.join(map(str, paths))}: no {FILE} at or below; give runs' folders")
    runs, unreadable = [], []
    for file in files:
        try:
            runs.append(_read(file, names or {}))
        except (OSError, ValueError, KeyError, RecursionError) as error:
            unreadable.append((file, _reason(error)))
    ok = [run for run in runs if run.value is not None]
    _refuse_duplicates(ok)
    _refuse_mixed_cells(ok, "configurations", "cell_hash")
    _refuse_mixed_cells(ok, "headline metrics", "headline", "name")
    return Records(ok, [run for run in runs if run.value is None], unreadable)


def read_names(file: Path) -> dict[str, str]:
    """For `read_records`, from a YAML file of `label: name`.

    Raises:
        UserError: no such file, or something else in it.
    """
    try:
        names = OmegaConf.to_container(OmegaConf.load(file))
    except OSError as error:
        raise UserError(f"--names={file}: {error.strerror}; give a YAML file") from error
    except Exception as error:  # whatever YAML and OmegaConf have against it
        told = " ".join(str(error).split())
        raise UserError(f"--names={file}: not readable ({told})") from error
    if not isinstance(names, dict) or not all(map(_is_name, [*names, *names.values()])):
        raise UserError(f"--names={file}: must hold lines of the form label: name")
    return names


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


def _read(file: Path, names: Mapping[str, str]) -> Run:
    record = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(record, dict):
        raise ValueError("not a JSON object")
    _require_types(record)
    value = float(record["headline"]["value"]) if record["status"] == "ok" else None
    method = "+".join([record["method"], *(record.get("variant") or [])])
    shown = names.get(method, method)
    cell = CellKey(record["model"], record["n_train"], shown, record["task"])
    return Run(file.parent, cell, record["seed"], value, record)


def _require_types(record: dict[str, Any]) -> None:
    version = record["schema_version"]
    if _is_whole(version) and version != SCHEMA_VERSION:
        raise ValueError(
            f"schema_version {version} is not {SCHEMA_VERSION}; use the agwm that wrote it"
        )
    for name, holds in _REQUIRED.items():
        if not holds(record[name]):
            raise ValueError(f"{name} cannot be {short_repr(record[name])}")
    for name, holds in _OPTIONAL.items():
        value = _field(record, *name.split("."))
        if value is not None and not holds(value):
            raise ValueError(f"{name} cannot be {short_repr(value)}")
    if record["status"] == "ok" and _field(record, "headline", "value") is None:
        raise ValueError("headline.value is missing")


def _field(record: Any, *path: str) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _is_text(value: Any) -> bool:
    # JSON can hold halves of surrogate pairs, which no file of the report can.
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _is_name(value: Any) -> bool:
    return _is_text(value) and bool(value.strip()) and value.isprintable()


def _is_whole(value: Any, lowest: int = 0) -> bool:
    return type(value) is int and lowest <= value < _HUGE  # True is an int too


def _is_amount(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < _HUGE


def _is_percent(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= 100 + 1e-6


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_mixture(value: Any) -> bool:
    return value in ("mixed", *COLLAPSED)


def _is_variant(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


_HUGE = 2**63
_REQUIRED = {
    **dict.fromkeys(("task", "model", "method"), _is_text),
    **dict.fromkeys(("seed", "schema_version"), _is_whole),
    "n_train": lambda value: value is None or _is_whole(value, 2),
    "status": lambda value: value in ("ok", "failed"),
}
# Each may be missing or null as well.
_OPTIONAL = {
    name: holds
    for holds, names in {
        _is_dict: "headline cost git versions",
        _is_percent: "headline.value baseline",
        _is_amount: "cost.train_seconds cost.total_seconds cost.forward_passes "
        "cost.backward_passes cost.optimizer_steps",
        _is_whole: "peak_memory_bytes",
        _is_bool: "degenerate git.dirty",
        _is_mixture: "mixture",
        _is_text: "headline.name device sweep started_at finished_at config_hash cell_hash "
        "subsample_hash weights_hash error git.commit versions.agwm versions.torch",
        _is_variant: "variant",
    }.items()
    for name in names.split()
}


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no field {error}"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _refuse_duplicates(runs: list[Run]) -> None:
    seen: dict[tuple[CellKey, int], Run] = {}
    for run in runs:
        other = seen.setdefault((run.cell, run.seed), run)
        if other is not run:
            raise UserError(
                f"{other.folder} and {run.folder} are the same cell and seed {run.seed}; "
                "report one of them"
            )


def _refuse_mixed_cells(runs: list[Run], what: str, *path: str) -> None:
    by_cell: dict[CellKey, list[Run]] = defaultdict(list)
    for run in runs:
        if run.get(*path):  # older records have none
            by_cell[run.cell].append(run)
    for first, *others in by_cell.values():
        for other in others:
            if other.get(*path) != first.get(*path):
                raise UserError(
                    f"{first.folder} and {other.folder} are one cell of two {what} "
                    f"({first.get(*path)}, {other.get(*path)}); report one of them"
                )
