"""Where a run's curves go: metrics.csv always, W&B or TensorBoard beside it."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger

from agwm.config import RunConfig
from agwm.errors import UserError


class MetricsCsv(CSVLogger):
    """`metrics.csv` with a column for the phase: "search/lr" becomes `lr` in a row of search."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, name="", version="", flush_logs_every_n_steps=20)

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:
        """Write one row; keys are `<phase>/<name>`, among them `<phase>/step`."""
        phases = {key.split("/")[0] for key in metrics if "/" in key}
        for phase in sorted(phases):
            row = {
                key.split("/", 1)[1]: value
                for key, value in metrics.items()
                if key.startswith(f"{phase}/")
            }
            super().log_metrics({"phase": phase, **row}, int(row["step"]))

    def text(self) -> str:
        """All rows so far."""
        self.save()
        path = Path(self.experiment.metrics_file_path)
        return path.read_bytes().decode() if path.is_file() else ""

    def restore(self, text: str) -> None:
        """Begin with the rows of `text` instead of those so far."""
        self.save()
        Path(self.experiment.metrics_file_path).write_bytes(text.encode())
        self.experiment.metrics_keys = text.partition("\r\n")[0].split(",") if text else []

    def log_hyperparams(self, params: Any = None) -> None:
        """Nothing: config.yaml holds them."""


@contextmanager
def run_loggers(
    config: RunConfig, folder: Path, hash_: str, plain: dict[str, Any]
) -> Iterator[list[Logger]]:
    """Loggers of one run, closed at the end.

    Args:
        config: of the run; `config.logger.kind` picks what goes beside metrics.csv.
        folder: the run's directory; everything is written below it.
        hash_: of the configuration.
        plain: configuration as plain containers.
    """
    csv = MetricsCsv(folder)
    try:
        if config.logger.kind == "wandb":
            with _wandb_run(config, folder, hash_, plain) as logger:
                yield [csv, logger]
        elif config.logger.kind == "tensorboard":
            yield [csv, _tensorboard(folder)]
        else:
            yield [csv]
    finally:
        csv.save()


@contextmanager
def _wandb_run(
    config: RunConfig, folder: Path, hash_: str, plain: dict[str, Any]
) -> Iterator[Logger]:
    # Only a run that asks for it pays for the import.
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    from agwm.results.wandb_settings import shareable_settings

    n_train = "full" if config.n_train is None else config.n_train
    method = folder.parent.parent.name  # with what differs from its defaults
    cell = [config.sweep, config.task.name, config.model.name, method, f"n{n_train}"]
    run = wandb.init(
        project=config.logger.project,
        mode=config.logger.mode,
        dir=folder,
        # One run for one directory and configuration, however often it is started.
        id=f"{hash_}-{hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:8]}",
        resume="allow",
        group="/".join(cell),
        name=f"{method}-n{n_train}-seed{config.seed}",
        job_type="train",
        tags=[config.task.name, config.model.name, config.method["name"], f"n{n_train}"],
        config=plain,
        reinit="create_new",
        settings=shareable_settings(),
    )
    code = 1
    try:  # `with run` would print the traceback of an error that we tell in one line
        for phase in ("search", "finetune"):
            run.define_metric(f"{phase}/step", hidden=True)
            run.define_metric(f"{phase}/*", step_metric=f"{phase}/step")
        yield WandbLogger(experiment=run)
        code = 0
    finally:
        run.finish(exit_code=code)


def _tensorboard(folder: Path) -> Logger:
    from lightning.pytorch.loggers import TensorBoardLogger

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise UserError(
            "logger=tensorboard: the package is not installed; pip install 'agwm[tensorboard]'"
        ) from error


def log_summary(loggers: list[Logger], values: dict[str, float]) -> None:
    """Final figures of a run into W&B's summary; metrics.csv holds curves only."""
    for logger in loggers:
        experiment = logger.experiment
        if hasattr(experiment, "summary"):
            experiment.summary.update(values)
