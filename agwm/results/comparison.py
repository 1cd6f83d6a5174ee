"""Two runs that should be one: are their weights, predictions and metrics the same?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from agwm.errors import RunError

_ALPHA, _PREDICTIONS = "alpha.safetensors", "predictions.jsonl"


class Finding(NamedTuple):
    """One line of a comparison."""

    what: str
    equal: bool
    told: str


def compare_runs(first: Path, second: Path, records: tuple[dict, dict]) -> list[Finding]:
    """Weights bit for bit, then predictions and metrics.

    Args:
        first: a finished run's directory.
        second: another one's, of the same configuration.
        records: theirs.

    Raises:
        RunError: a file of one of them cannot be read.
    """
    return [
        _weights(first, second, records),
        _predictions(first, second),
        _headline(*records),
    ]


def environment_differences(records: tuple[dict, dict]) -> list[tuple[str, str, str]]:
    """(what, then, now) of what two runs were made with, where both of them tell.

    Args:
        records: of the two.
    """
    then, now = map(_environment, records)
    return [
        (name, then[name], now[name]) for name in then if name in now and then[name] != now[name]
    ]


def _environment(record: dict[str, Any]) -> dict[str, str]:
    git = record.get("git") or {}
    found = {
        **(record.get("versions") or {}),
        "commit": git.get("commit") and git["commit"] + (" with changes" if git["dirty"] else ""),
        "device": record.get("device"),
        **(record.get("machine") or {}),
        "examples": record.get("data_hash"),
        "weights before training": record.get("start_hash"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _weights(first: Path, second: Path, records: tuple[dict, dict]) -> Finding:
    hashes = [record.get("weights_hash") for record in records]
    equal = None in hashes or hashes[0] == hashes[1]
    names = sorted({*_tensor_files(first), *_tensor_files(second)})
    if not names:
        told = "not kept" if None in hashes else f"hash {' and '.join(dict.fromkeys(hashes))}"
        return Finding("weights", equal and None not in hashes, told)
    count, other, largest, where = 0, 0, -1.0, ""
    for name in names:
        if not ((first / name).is_file() and (second / name).is_file()):
            return Finding("weights", False, f"{name} is there in one of them alone")
        pairs = zip(_tensors(first / name), _tensors(second / name), strict=True)
        try:
            for (key, one), (key_too, two) in pairs:
                count += 1
                if key != key_too or one.shape != two.shape or one.dtype != two.dtype:
                    raise ValueError(f"{name}: {key} and {key_too} are not the same tensor")
                if not torch.equal(_bits(one), _bits(two)):
                    other += 1
                    found = float((one.double() - two.double()).abs().max())
                    if not found <= largest:  # NaN is larger than all
                        largest, where = found, key
        except ValueError as error:  # of another number of tensors
            return Finding("weights", False, str(error))
    if other:
        told = f"{other} of {count} tensors differ, the most by {largest:.3g} in {where}"
        return Finding("weights", False, told)
    return Finding("weights", equal, f"{count} tensors, bit for bit" if equal else "hashes differ")


def _tensor_files(folder: Path) -> Iterator[str]:
    for path in (folder / "model").rglob("*.safetensors"):
        yield str(path.relative_to(folder))
    if (folder / _ALPHA).is_file():
        yield _ALPHA


def _tensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    try:
        with safe_open(file, "pt") as tensors:
            for name in sorted(tensors.keys()):
                yield name, tensors.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{file}: cannot be read ({error})") from error


def _bits(tensor: Tensor) -> Tensor:
    """So that NaN equals itself and -0 is not 0."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def _predictions(first: Path, second: Path) -> Finding:
    one, two = (_rows(folder / _PREDICTIONS) for folder in (first, second))
    if one == two:
        return Finding("predictions", True, f"{len(one)} rows, to the last digit")
    if [row["id"] for row in one] != [row["id"] for row in two]:
        return Finding("predictions", False, f"{len(one)} and {len(two)} rows of other texts")
    pairs = list(zip(one, two, strict=True))
    changed = sum(a["prediction"] != b["prediction"] for a, b in pairs)
    furthest = max(
        abs(x - y) for a, b in pairs for x, y in zip(a["scores"], b["scores"], strict=True)
    )
    told = f"{changed} of {len(one)} differ; scores by at most {furthest:.3g}"
    return Finding("predictions", False, told)


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise RunError(f"{file}: cannot be read ({error})") from error


def _headline(first: dict[str, Any], second: dict[str, Any]) -> Finding:
    equal = first["headline"] == second["headline"] and first["metrics"] == second["metrics"]
    values = [record["headline"]["value"] for record in (first, second)]
    shown = f"{values[0]:.2f}" if equal else f"{values[0]!r} then, {values[1]!r} now"
    return Finding(first["headline"]["name"], equal, shown)
