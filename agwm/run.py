"""One run, from its checked configuration to its record."""

import json
import logging
import platform
import time
import traceback
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
import transformers
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

from agwm.atomic import remove_partial, replacing, write_atomically
from agwm.config import RunConfig
from agwm.data.datamodule import GlueDataModule
from agwm.data.summary import print_data, summarize
from agwm.errors import UserError
from agwm.identity import config_hash, differences
from agwm.method import Method
from agwm.models.digest import digest
from agwm.models.mixed import alpha_tensors, mixture_state
from agwm.models.positions import require_positions
from agwm.models.pretrained import load_pretrained
from agwm.models.scale import rescale
from agwm.paths import root
from agwm.results.loggers import log_summary, run_loggers
from agwm.results.record import Record, code_digest, git_state, read_record, versions
from agwm.seeding import derive
from agwm.shown import masked, shown
from agwm.training.checkpoints import Checkpoints
from agwm.training.memory import keep_freed_memory, peak_memory, told_if_short
from agwm.training.metrics import baseline, evaluate, predictions, scores
from agwm.training.runner import LightningRunner
from agwm.training.settings import torch_settings
from agwm.training.silence import silence


def run(config: RunConfig, method: Method, folder: Path, hash_: str) -> Record:
    """Train, evaluate and export; the record is in `folder` before this returns or raises.

    Args:
        config: checked.
        method: built from `config.method`.
        folder: run directory, held by this process (`agwm.results.claim`).
        hash_: of `config`, for the record.

    Raises:
        UserError: data or model that cannot be had or used.
        Exception: whatever else ended the run; both after `error.txt` and a failed record.
    """
    with torch_settings(config.trainer.threads):
        return _run(config, method, folder, hash_)


def _run(config: RunConfig, method: Method, folder: Path, hash_: str) -> Record:
    started = time.perf_counter()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    transformers.utils.logging.disable_progress_bar()
    silence()
    keep_freed_memory()
    folder.mkdir(parents=True, exist_ok=True)
    for entry in folder.iterdir():
        # It would lead what a run writes, or takes away, to another place.
        if entry.is_symlink():
            raise UserError(f"{entry}: is a link, in a run's own directory; remove it first")
    if config.force and (read_record(folder) or {}).get("status") == "ok":
        # Begun anew; one that has not ended goes on, forced or not.
        rmtree(folder / Checkpoints.NAME, ignore_errors=True)
    _clear(folder)
    record = Record(
        status="failed",
        task=config.task.name,
        model=config.model.name,
        method=method.name,
        n_train=config.n_train,
        seed=config.seed,
        sweep=config.sweep,
        config_hash=hash_,
        cell_hash=config_hash(config, "seed"),
        variant=differences(config),
        versions=versions(),
        git=git_state(root()),
        machine=_machine(),
        started_at=_now(),
    )
    plain = asdict(config)
    plain["method"] = {**plain["method"], **asdict(method)}
    write_atomically(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plain)))
    log = _train_log(folder)
    try:
        with told_if_short(), run_loggers(config, folder, hash_, plain) as loggers:
            _train_and_evaluate(config, method, folder, record, loggers)
            log_summary(loggers, _summary(record))
        record.status = "ok"
    except BaseException as error:
        # A failed run never becomes a number.
        record.headline = record.baseline = record.degenerate = None
        record.mixture = record.weights_hash = None
        record.metrics = {}
        _clear(folder)
        record.error = masked(f"{type(error).__name__}: {error}")
        log.error("failed: %s", shown(record.error))
        with suppress(OSError):  # a full disk is not to hide the error
            write_atomically(folder / "error.txt", shown(masked(traceback.format_exc())))
        raise
    finally:
        record.cost.total_seconds += time.perf_counter() - started  # to that of earlier starts
        record.finished_at = _now()
        record.peak_memory_bytes = peak_memory()
        try:
            record.write(folder)
            log.info("record: %s, %.1f s", record.status, record.cost.total_seconds)
        finally:
            _close(log)
    rmtree(folder / Checkpoints.NAME, ignore_errors=True)
    return record


def _train_and_evaluate(
    config: RunConfig, method: Method, folder: Path, record: Record, loggers: list[Any]
) -> None:
    log = logging.getLogger("agwm")
    data = GlueDataModule(config.task, config.optim, config.seed, config.n_train, config.data_dir)
    record.subsample_hash, record.data_hash = data.train.digest(), data.digest()
    log.info("%d training examples, subsample %s", len(data.train), record.subsample_hash)
    head_seed = derive(config.seed, "head")
    loaded = load_pretrained(config.model, config.task, head_seed, data.targets, data.label_scale)
    require_positions(loaded.model.config, config.optim.max_length)
    record.start_hash = digest(loaded.model)
    data.tokenize_with(loaded.tokenizer)
    if config.task.train is not None:
        summary = summarize(data)
        write_atomically(folder / "data.json", json.dumps(asdict(summary), indent=2) + "\n")
        print_data(summary, config.task.train)
    # Whatever the weights of an unfinished run depend on.
    names = ("config_hash", "subsample_hash", "start_hash", "versions")
    origin = {name: getattr(record, name) for name in names} | {"code": code_digest()}
    origin["threads"] = torch.get_num_threads()
    origin["gpu"] = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    checkpoints = Checkpoints(folder, origin)
    runner = LightningRunner(config, loaded, data, loggers, method.plan(), checkpoints)
    record.cost, record.phases = runner.account.cost, runner.account.phases
    record.device = _device(runner)
    with runner.progress:
        model = method.run(runner)
    alpha = alpha_tensors(model)
    if alpha:
        record.mixture = mixture_state(alpha)
        with replacing(folder / "alpha.safetensors") as temporary:
            save_file(alpha, temporary)
    model = method.merge(model)
    if config.task.standardize:
        rescale(model, *data.label_scale)
    record.weights_hash = digest(model)
    _evaluate(config, model, data, runner, folder, record)
    if config.save_model:
        method.save(model, loaded, folder / "model")
        write_atomically(folder / "model" / "agwm.json", _read_with(config))


def _read_with(config: RunConfig) -> str:
    """What `agwm.predict` and `agwm.evaluate` have to know besides the model."""
    task = config.task
    values = {
        "columns": task.columns,
        "label": task.label or "label",
        "max_length": config.optim.max_length,
        "metrics": task.metrics,
    }
    return json.dumps(values, indent=2) + "\n"


def _evaluate(
    config: RunConfig,
    model: nn.Module,
    data: GlueDataModule,
    runner: LightningRunner,
    folder: Path,
    record: Record,
) -> None:
    task = config.task
    rows = []
    for index, split in enumerate(task.evaluation):
        examples = data.evaluation[split]
        logits = runner.predict(model, split)
        predicted = predictions(logits, task)
        # Further splits keep their name in their metrics; the headline is the first split's.
        suffix = f"/{split}" if index else ""
        if not index:
            record.degenerate = len(set(predicted)) == 1
        found = evaluate(predicted, examples, task)
        record.metrics |= {name + suffix: value for name, value in found.items()}
        columns = zip(examples.ids, examples.labels, predicted, scores(logits, task), strict=True)
        names = ("id", "label", "prediction", "scores")
        rows += [
            dict(zip(names, row, strict=True)) | ({"split": split} if suffix else {})
            for row in columns
        ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    write_atomically(folder / "predictions.jsonl", lines)
    headline, first = task.metrics[0], data.evaluation[task.evaluation[0]]
    record.headline = {"name": headline, "value": 100 * record.metrics[headline]}
    record.baseline = 100 * baseline(headline, data.constant_prediction(), first, task)


def _summary(record: Record) -> dict[str, float | bool]:
    """What a table of runs is sorted by."""
    cost = record.cost
    return {
        "headline": record.headline["value"],
        "degenerate": record.degenerate,
        **{f"eval/{name}": value for name, value in record.metrics.items()},
        "cost/train_seconds": cost.train_seconds,
        "cost/passes": cost.forward_passes + cost.backward_passes,
    }


def _clear(folder: Path) -> None:
    """Take away what an earlier start left: the record first, which vouches for the rest."""
    files = ("record.json", "error.txt", "predictions.jsonl", "alpha.safetensors", "data.json")
    for name in (*files, "page.html"):
        (folder / name).unlink(missing_ok=True)
    for name in ("model", ".model.partial", "plots"):
        rmtree(folder / name, ignore_errors=True)
    remove_partial(folder, folder / Checkpoints.NAME)


class _Log(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk costs the line, without a traceback on the terminal."""


def _train_log(folder: Path) -> logging.Logger:
    """`train.log` of this run alone: several runs may follow each other in one process."""
    log = logging.getLogger("agwm")
    log.setLevel(logging.INFO)
    log.propagate = False
    handler = _Log(folder / "train.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    return log


def _close(log: logging.Logger) -> None:
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()


def _device(runner: LightningRunner) -> str:
    if runner.on_gpu:
        return torch.cuda.get_device_name()
    return f"cpu, {torch.get_num_threads()} threads"


def _machine() -> dict[str, Any]:
    """What the bits of a result depend on besides versions and device."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
