"""A run's record: written once, whole or not at all."""

import hashlib
import json
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from agwm.atomic import write_atomically
from agwm.errors import UserError

SCHEMA_VERSION = 1
FILE = "record.json"
# What there is to say of a mixture that is none any more.
COLLAPSED = {
    "W": "alpha ended at 1 throughout: the task weights alone, nothing is mixed in",
    "W0": "alpha ended at 0 throughout: the pretrained weights alone, the task weights are unused",
}
_PACKAGES = (
    "agwm",
    "torch",
    "lightning",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "scikit-learn",
    "torchmetrics",
    "hydra-core",
    "numpy",
    "wandb",
)


@dataclass
class Cost:
    """What a run spent; each step of either optimizer of a search counts."""

    forward_passes: int = 0
    backward_passes: int = 0
    optimizer_steps: int = 0
    train_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(kw_only=True)
class Record:
    """Content of `record.json`.

    `headline.value` and `baseline` are in percent, -100 to 100; `metrics` are in [-1, 1].
    """

    status: str  # "ok" or "failed"
    task: str
    model: str
    method: str
    n_train: int | None
    seed: int
    sweep: str
    config_hash: str
    cell_hash: str  # the same without the seed: equal for the runs that a mean is taken over
    variant: list[str] = field(default_factory=list)  # what differs from the choices' defaults
    headline: dict[str, Any] | None = None
    baseline: float | None = None  # headline of predicting the same for every text
    degenerate: bool | None = None  # the model predicts the same for every text
    # "mixed"; "W" or "W0" where alpha ended at 1 or at 0 throughout, which leaves that alone
    mixture: str | None = None  # None = the method mixes no weights
    metrics: dict[str, float] = field(default_factory=dict)
    phases: list[dict[str, Any]] = field(default_factory=list)
    cost: Cost = field(default_factory=Cost)
    peak_memory_bytes: int | None = None
    subsample_hash: str | None = None
    data_hash: str | None = None  # of all examples, trained and evaluated on, in their order
    start_hash: str | None = None  # of the weights before training, the fresh head among them
    weights_hash: str | None = None  # of the weights that were evaluated
    versions: dict[str, str] = field(default_factory=dict)
    git: dict[str, Any] | None = None
    device: str | None = None
    machine: dict[str, Any] | None = None  # system, instructions and threads of the CPU
    started_at: str = ""
    finished_at: str = ""
    error: str | None = None
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Put `record.json` into `folder`."""
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=2) + "\n")


def read_record(folder: Path) -> dict[str, Any] | None:
    """The record in `folder`; None if there is none that can be read."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def written(folder: Path) -> int | None:
    """When the record in `folder` was written, in nanoseconds; None if there is none."""
    try:
        return (folder / FILE).stat().st_mtime_ns
    except OSError:
        return None


def finished_record(folder: Path, config_hash: str) -> dict[str, Any] | None:
    """The record of a finished run of this configuration in `folder`; None if there is none.

    Raises:
        UserError: the folder holds a finished run of another configuration.
    """
    known = read_record(folder)
    if known is None or known.get("status") != "ok" or not _has_headline(known):
        return None
    if known.get("config_hash") != config_hash:
        raise UserError(
            f"{folder}: holds a finished run of another configuration "
            f"({known.get('config_hash')}, this one is {config_hash}); "
            "give another runs_dir or sweep, or force=true to replace it"
        )
    return known


def _has_headline(record: dict[str, Any]) -> bool:
    """Whether it is a run's own: one that was damaged is run again."""
    headline = record.get("headline")
    if not isinstance(headline, dict) or not isinstance(headline.get("name"), str):
        return False
    return isinstance(headline.get("value"), int | float)


def versions() -> dict[str, str]:
    """Installed versions of what a result depends on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def code_digest() -> str:
    """Twelve hex digits over the package's source files, committed or not."""
    folder = Path(__file__).parents[1]
    files = sorted((path.relative_to(folder), path) for path in folder.rglob("*.py"))
    digest = hashlib.sha256()
    for name, path in files:
        digest.update(f"{name.as_posix()}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout that holds `folder`, and whether it is dirty; None outside of one."""

    def git(*arguments: str) -> str:
        # A run that is killed meanwhile is not to leave the checkout locked.
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # An installed package may lie inside somebody else's checkout.
        if Path(git("rev-parse", "--show-toplevel")).resolve() != folder.resolve():
            return None
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain"))}
    except (OSError, subprocess.CalledProcessError):
        return None
