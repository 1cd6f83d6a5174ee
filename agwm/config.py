"""The run's configuration: its schema and its checks.

Nothing heavy is imported here, so that a mistake in the configuration is told in two seconds.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from agwm.errors import UserError, require

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
    # Learn numbers as (label - mean) / std of the training labels; null = of own data alone.
    standardize: bool | None = None
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
        asked = self.standardize and self.labels is not None
        require(not asked, "task.standardize", True, "false or null where labels are classes")
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
    output_bias: str | None = None  # prior = at the labels' mean or log shares; null = as drawn
    reinit_layers: int | None = None  # top blocks, and the pooler, drawn anew; null = nothing is

    def __post_init__(self) -> None:
        _require_folder("model.name", self.name)
        named = bool(self.name_or_path) or self.config is not None
        require(named, "model.name_or_path", self.name_or_path, "a model on the Hub or a folder")
        known = self.output_bias in (None, "prior")
        require(known, "model.output_bias", self.output_bias, "prior or null")
        count = self.reinit_layers
        require(count is None or count >= 0, "model.reinit_layers", count, ">= 0 or null")


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
