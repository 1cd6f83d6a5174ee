"""The run's configuration: its schema, its checks and the run directory it leads to.

Nothing heavy is imported here, so that a mistake in the configuration is told in two seconds.
"""

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import MISSING, DictConfig, OmegaConf

from agwm.errors import UserError, require
from agwm.paths import root
from agwm.shown import masked

CLASS_METRICS = ("accuracy", "f1", "macro_f1", "matthews_corrcoef")
REGRESSION_METRICS = ("pearson", "spearman")


def _require_folder(key: str, name: str, value: str | None = None) -> None:
    """Raise `UserError` unless `name`, a part of `value`, can name a folder inside another one."""
    one = Path(name).parts == (name,) and name not in ("..", "/")
    valid = one and name.isprintable() and len(name.encode()) <= 255
    require(valid, key, name if value is None else value, "a folder's name")


@dataclass
class Task:
    name: str = MISSING
    # One text column, or two for a pair; None = own data that agwm.data.own has not read yet.
    columns: list[str] | None = MISSING
    labels: list[str] | None = None  # label names in the order of their codes; None = regression
    metrics: list[str] | None = MISSING  # the first is the headline
    evaluation: list[str] = MISSING  # splits; the headline comes from the first
    hub: str | None = None  # data set on the Hub, with one configuration per task
    generated: bool = False
    group_by: str | None = None  # column: accuracy is reported for each of its values
    n_train: int | None = None
    # Own data, conf/task/file.yaml.
    train: str | None = None
    validation: str | None = None
    text: Any = None
    label: str | None = None
    kind: str | None = None
    held_out: float = 0.2
    digest: str | None = None  # of the files' content, once it has been read

    def __post_init__(self) -> None:
        _require_folder("task.name", self.name)
        require(0 < self.held_out <= 0.5, "task.held_out", self.held_out, "in (0, 0.5]")
        kinds = (None, "classification", "regression")
        contradicting = self.kind == "regression" and self.labels is not None
        require(not contradicting, "task.labels", self.labels, "null with task.kind=regression")
        require(self.kind in kinds, "task.kind", self.kind, "classification or regression")
        if self.columns is None:
            example = "a file of labelled texts: task=file task.train=reviews.csv"
            require(bool(self.train), "task.train", self.train, example)
            return
        require(len(self.columns) in (1, 2), "task.columns", self.columns, "one or two columns")
        if self.labels is not None:
            distinct = len(set(self.labels)) == len(self.labels) >= 2
            require(distinct, "task.labels", self.labels, "two or more different names")
        allowed = REGRESSION_METRICS if self.labels is None else CLASS_METRICS
        known = bool(self.metrics) and all(metric in allowed for metric in self.metrics)
        require(known, "task.metrics", self.metrics, "some of " + ", ".join(allowed))
        binary = self.labels is not None and len(self.labels) == 2
        require(
            "f1" not in self.metrics or binary,
            "task.metrics",
            self.metrics,
            "without f1 unless there are two labels",
        )
        require(bool(self.evaluation), "task.evaluation", self.evaluation, "one or more splits")


@dataclass
class Model:
    name: str = MISSING
    name_or_path: str | None = None  # on the Hub, or a folder
    config: dict[str, Any] | None = None  # architecture of a model whose weights come otherwise
    package_of: str | None = None  # the name_or_path whose weights `package` ships
    package: str | None = None  # an installed distribution
    package_folder: str | None = None
    sha256: str | None = None  # of those weights

    def __post_init__(self) -> None:
        _require_folder("model.name", self.name)
        named = bool(self.name_or_path) or self.config is not None
        require(named, "model.name_or_path", self.name_or_path, "a model on the Hub or a folder")


@dataclass
class Optim:
    lr: float = MISSING
    epochs: int | None = MISSING
    steps: int | None = None  # instead of epochs, as table 7 has it for some models
    batch_size: int = MISSING
    warmup_ratio: float = MISSING
    warmup_steps: int | None = None  # of fine-tuning, instead of the ratio
    weight_decay: float = MISSING
    for_all_data: bool = False  # these figures are meant for the whole training data
    max_grad_norm: float = 1.0
    max_length: int = 128  # tokens
    group_by_length: bool = False  # batches of texts of like length: less padding

    def __post_init__(self) -> None:
        require(0 <= self.lr < math.inf, "optim.lr", self.lr, "a number >= 0")
        require(self.epochs is None or self.epochs >= 1, "optim.epochs", self.epochs, ">= 1")
        require(self.steps is None or self.steps >= 1, "optim.steps", self.steps, ">= 1 or null")
        require(
            (self.epochs is None) != (self.steps is None),
            "optim.epochs",
            self.epochs,
            f"null if optim.steps is set, and only then (optim.steps={self.steps})",
        )
        require(self.batch_size >= 1, "optim.batch_size", self.batch_size, ">= 1")
        require(0 <= self.warmup_ratio <= 1, "optim.warmup_ratio", self.warmup_ratio, "in [0, 1]")
        warmup_valid = self.warmup_steps is None or self.warmup_steps >= 0
        require(warmup_valid, "optim.warmup_steps", self.warmup_steps, ">= 0 or null")
        decay = self.weight_decay
        require(0 <= decay < math.inf, "optim.weight_decay", decay, "a number >= 0")
        require(self.max_grad_norm > 0, "optim.max_grad_norm", self.max_grad_norm, "> 0")
        require(self.max_length >= 8, "optim.max_length", self.max_length, ">= 8 tokens")


@dataclass
class Trainer:
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    threads: int | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        accelerators = ("auto", "cpu", "gpu", "cuda", "mps")
        require(
            self.accelerator in accelerators,
            "trainer.accelerator",
            self.accelerator,
            "one of " + ", ".join(accelerators),
        )
        # One run is one process; many runs go side by side.
        require(self.devices == 1, "trainer.devices", self.devices, "1")
        precisions = ("32-true", "bf16-mixed")
        require(
            self.precision in precisions,
            "trainer.precision",
            self.precision,
            "one of " + ", ".join(precisions),
        )
        require(self.threads is None or self.threads >= 1, "trainer.threads", self.threads, ">= 1")


@dataclass
class Logger:
    kind: str = "none"
    project: str = "agwm"
    mode: str = "offline"

    def __post_init__(self) -> None:
        kinds = ("none", "wandb", "tensorboard")
        require(self.kind in kinds, "logger.kind", self.kind, "one of " + ", ".join(kinds))
        modes = ("offline", "online")
        require(self.mode in modes, "logger.mode", self.mode, "one of " + ", ".join(modes))


@dataclass
class RunConfig:
    task: Task = MISSING
    model: Model = MISSING
    optim: Optim = MISSING
    method: dict[str, Any] = MISSING  # checked by agwm.method.build_method
    trainer: Trainer = MISSING
    logger: Logger = MISSING
    seed: int = 0
    n_train: int | None = None
    data_dir: str | None = None
    runs_dir: str = "runs"
    sweep: str = "single"
    force: bool = False
    dry_run: bool = False
    save_model: bool = True

    def __post_init__(self) -> None:
        require(self.seed >= 0, "seed", self.seed, "a whole number >= 0")
        if self.n_train is not None and self.optim.for_all_data:
            raise UserError(
                f"n_train={self.n_train}: conf/optim/{self.model.name}_{self.task.name}.yaml is "
                "for all the data; ~optim takes the model's own epochs instead, "
                "optim.for_all_data=false keeps it"
            )
        fewest = 2 if self.n_train is None else self.n_train
        require(fewest >= 2, "n_train", self.n_train, "null (all) or a whole number >= 2")
        # Several folders deep, if so wished.
        for part in Path(self.sweep).parts or [""]:
            _require_folder("sweep", part, self.sweep)
        _require_folder("method.name", str(self.method.get("name")))


def register() -> None:
    """Make the schema and the resolvers known to Hydra; may be called again."""
    ConfigStore.instance().store(name="run_schema", node=RunConfig)
    OmegaConf.register_new_resolver("agwm_root", lambda: str(root()), replace=True)


def compose_config(*overrides: str) -> RunConfig:
    """The `RunConfig` that `python -m agwm.train *overrides` would get; for use from Python."""
    register()
    cfg = composed([quoted(override) for override in overrides])
    # Task, model and method take their names from Hydra's choices.
    HydraConfig.instance().set_config(cfg)
    return to_run_config(cfg)


def composed(overrides: list[str]) -> DictConfig:
    """Configuration of a run's overrides, with Hydra's own node; `register` comes first."""
    if GlobalHydra.instance().is_initialized():
        return compose("train", overrides, return_hydra_config=True)
    with initialize_config_dir(str(root() / "conf"), version_base="1.3"):
        return compose("train", overrides, return_hydra_config=True)


_CHOSEN = ("", "task", "model", "optim", "method", "trainer", "logger")  # by a name


def quoted(override: str) -> str:
    """`override` as Hydra's grammar wants it: a value with letters beyond ASCII in quotes.

    Left alone where it may be a list, a sweep or quoted already. So is a number that is to name a
    choice.
    """
    key, equals, value = override.partition("=")
    number = key in _CHOSEN and value.isdecimal()
    if (value.isascii() and not number) or set(value) & set("\"',[]{}()"):
        return override
    return f"{key}{equals}'{value}'"


def to_run_config(cfg: DictConfig) -> RunConfig:
    """Resolved and checked `RunConfig`.

    Raises:
        UserError: a value out of range.
        OmegaConfBaseException: a key that is none of ours.
    """
    _refuse_unknown_recipe()
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    plain = OmegaConf.to_container(own, resolve=True)
    for key, value in _leaves(plain):
        if isinstance(value, str) and masked(value) != value:
            raise UserError(
                f"{key}={masked(value)}: holds a name or password, which a run would write down; "
                "keep it in the environment or in a file of its own"
            )
    # Merged once more: what `+key=value` adds would pass otherwise.
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), plain))


def _refuse_unknown_recipe() -> None:
    """Hydra passes by one that there is not: most tasks have none of their own."""
    runtime = HydraConfig.get().runtime
    chosen = runtime.choices.get("optim")
    if chosen in (None, f"{runtime.choices.get('model')}_{runtime.choices.get('task')}"):
        return
    folders = [Path(source.path, "optim") for source in runtime.config_sources]
    if not any((folder / f"{chosen}.yaml").is_file() for folder in folders):
        known = sorted(path.stem for path in (root() / "conf" / "optim").glob("*.yaml"))
        raise UserError(f"optim={chosen}: no such optim; one of {', '.join(known)}")


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
    given = {key: value for key, value in _leaves(hashed) if value is not None}
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
    return {key: value for key, value in _leaves(plain) if key not in named}


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def known_keys() -> list[str]:
    """Keys that may be meant by a mistyped one: two levels deep, with those of all methods."""
    keys = []
    for key in fields(RunConfig):
        inner = fields(key.type) if is_dataclass(key.type) else ()
        keys += [key.name, *(f"{key.name}.{field.name}" for field in inner)]
    for path in sorted((root() / "conf" / "method").glob("*.yaml")):
        keys += [f"method.{name}" for name in OmegaConf.load(path)]
    return keys
