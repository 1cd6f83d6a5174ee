"""What a folder with a fine-tuned model says of itself, before any of its weights is read.

Beside the files of transformers it may hold `agwm.json`: the columns and the label that it was
trained on, its longest input and its metrics, all of them optional.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agwm.errors import UserError

FILE = "agwm.json"
HEAD = "head.safetensors"  # of a linear probe, beside its encoder
ADAPTER, BASE = "adapter", "base"  # of prefix and prompt
NO_SAFETENSORS = (
    "holds no .safetensors; weights in other files can run code when they are read. Where you "
    "trust them, from_pretrained(...).save_pretrained(FOLDER) converts"
)


@dataclass(frozen=True)
class ModelFolder:
    """A sequence classifier, or a regression, in `path`."""

    path: Path
    labels: list[str] | None  # names in the order of their codes; None = regression
    columns: list[str] | None = None  # one text column, or two of a pair
    label: str | None = None
    max_length: int | None = None  # tokens
    metrics: list[str] = field(default_factory=list)  # the first is the headline


def read_folder(given: Path) -> ModelFolder:
    """The model in `given`, or in the `model/` of a run's directory.

    Raises:
        UserError: no such folder, no model in it, its weights are a pickle, or its `agwm.json` or
            labels make no sense.
    """
    if not given.is_dir():
        raise UserError(
            f"MODEL={given}: no such folder; one on the Hub is to be fetched first: "
            f"hf download NAME --local-dir FOLDER"
        )
    path = given
    if not _config(path).is_file() and _config(path / "model").is_file():
        path = path / "model"
    if not _config(path).is_file():
        raise UserError(f"MODEL={given}: holds no model (no config.json); give RUN/model")
    if not _has_safetensors(path):
        raise UserError(f"MODEL={given}: {NO_SAFETENSORS}")
    config = _json(_config(path))
    return ModelFolder(path, _labels(config, _config(path)), **_own(path / FILE))


def _has_safetensors(path: Path) -> bool:
    adapter = path / ADAPTER
    if adapter.is_dir() and not (adapter / "adapter_model.safetensors").is_file():
        return False
    names = ("model.safetensors", "model.safetensors.index.json")
    return any(_config(path).with_name(name).is_file() for name in names)


def _config(path: Path) -> Path:
    """Of the base, where a prefix or a prompt lies beside it."""
    return path / BASE / "config.json" if (path / ADAPTER).is_dir() else path / "config.json"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path}: not a JSON object")
    return found


def _labels(config: dict[str, Any], path: Path) -> list[str] | None:
    # The names that transformers makes up are not in the file.
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    if not isinstance(names, dict):
        raise UserError(f"{path}: id2label={names}: must be an object of names by code")
    kind = config.get("problem_type")
    if kind == "regression" or (kind is None and len(names) == 1):
        if len(names) == 1:
            return None
        raise UserError(f"{path}: a regression on {len(names)} numbers; only one is supported")
    if kind not in (None, "single_label_classification"):
        raise UserError(f"{path}: problem_type={kind}: each text must have exactly one label")
    if sorted(names) != sorted(map(str, range(len(names)))):
        raise UserError(f"{path}: id2label={names}: its codes are not 0 to {len(names) - 1}")
    labels = [str(names[str(code)]) for code in range(len(names))]
    if len(set(labels)) < len(labels) or len(labels) < 2:
        raise UserError(f"{path}: id2label={names}: must name two or more different labels")
    return labels


def _own(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = _json(path)

    def names(value: Any) -> bool:
        return isinstance(value, list) and all(isinstance(name, str) for name in value)

    valid = {
        "columns": lambda value: names(value) and len(value) in (1, 2),
        "label": lambda value: isinstance(value, str),
        "max_length": lambda value: type(value) is int and value > 0,
        "metrics": names,
    }
    own = {key: found[key] for key in valid if found.get(key) is not None}
    for key, value in own.items():
        if not valid[key](value):
            raise UserError(f"{path}: {key}={value!r} makes no sense; mend it or remove the file")
    return own
