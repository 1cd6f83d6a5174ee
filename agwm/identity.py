"""Which run a configuration is: its hash, its directory, and what in it is not the default."""

import hashlib
import json
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from agwm.compose import composed, leaves
from agwm.config import RunConfig

_GROUPS = ("task", "model", "optim", "method")
# What changes where a run lies or what it prints, and never a number in it.
_NOT_HASHED = ("runs_dir", "sweep", "force", "dry_run", "save_model", "logger")
# Of own data the content counts, and not where it lies; other tasks have none.
_PLACES = ("train", "validation", "text")
_OWN = (*_PLACES, "label", "kind", "held_out", "digest")


def config_hash(config: RunConfig, *without: str) -> str:
    """Twelve hex digits over everything that a result may depend on, save the keys `without`.

    A key that is null does not count: one that is added later, null by default, leaves the hashes
    of finished runs as they are.
    """
    plain = asdict(config)
    hashed = {key: value for key, value in plain.items() if key not in {*_NOT_HASHED, *without}}
    hashed["trainer"].pop("progress")
    for key in _OWN if config.task.digest is None else _PLACES:
        hashed["task"].pop(key)
    given = {key: value for key, value in leaves(hashed) if value is not None}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:12]


def run_dir(config: RunConfig, changed: list[str] | None = None) -> Path:
    """`<runs_dir>/<sweep>/<task>/<model>/<method>/n<n_train>/seed<seed>`.

    What differs from the defaults of the chosen task, model and method stands, readable, behind
    the method's name, so that every cell of a study has a folder of its own.

    Args:
        config: of the run.
        changed: `differences(config)` where it is known already; neither seed nor n_train is in it.
    """
    changed = differences(config) if changed is None else changed
    n_train = "full" if config.n_train is None else config.n_train
    return Path(
        config.runs_dir,
        config.sweep,
        config.task.name,
        config.model.name,
        "+".join([config.method["name"], *changed]),
        f"n{n_train}",
        f"seed{config.seed}",
    )


def differences(config: RunConfig) -> list[str]:
    """`key=value` for all that the run's command changed in its task, model, optim and method."""
    actual = _flatten(config)
    # Own data has its own name, and with it a folder of its own.
    own = config.task.digest is not None
    task = "file" if own else config.task.name
    chosen = [f"task='{task}'", f"model='{config.model.name}'", f"method='{config.method['name']}'"]
    default = _defaults(*chosen)
    changed = [
        f"{key.removeprefix('method.')}={actual.get(key)}"
        for key in sorted({**default, **actual})
        if actual.get(key) != default.get(key) and not (own and key.startswith("task."))
    ]
    readable = [entry.replace("/", "_").replace(" ", "") for entry in changed]
    # Most file systems stop at 255 bytes a name.
    if len("+".join(readable).encode()) > 150:
        return [hashlib.sha256("+".join(readable).encode()).hexdigest()[:12]]
    return readable


@lru_cache
def _defaults(*chosen: str) -> dict[str, Any]:
    return _flatten(composed(list(chosen)))


def _flatten(config: RunConfig | DictConfig) -> dict[str, Any]:
    """`{"optim.lr": 2e-5, ...}`, as deep as the mappings go."""
    if isinstance(config, DictConfig):
        plain = OmegaConf.to_container(OmegaConf.masked_copy(config, list(_GROUPS)), resolve=True)
    else:  # resolved: what looks like an interpolation is the name of a label
        plain = {group: asdict(config)[group] for group in _GROUPS}

    # The names are what was chosen by; in a composed configuration they are those of the last one
    # that Hydra was told of.
    named = {f"{group}.name" for group in _GROUPS}
    return {key: value for key, value in leaves(plain) if key not in named}
