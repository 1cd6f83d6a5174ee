"""Checks of what is installed and of the machine."""

import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from agwm.config import RunConfig
from agwm.doctor.finding import NOTE, OK, PROBLEM, Finding
from agwm.doctor.weights import gib, memory_needed, weights_size
from agwm.method import build_method

_CGROUP = Path("/sys/fs/cgroup")


def check_packages(config: RunConfig) -> Iterator[Finding]:
    """Python and the packages against the ranges that the installed distribution names."""
    try:
        own = metadata.metadata("agwm")
    except metadata.PackageNotFoundError:
        found = "agwm is not installed: the ranges of its packages are not known"
        yield Finding("packages", NOTE, found, "pip install . in the checkout")
        return
    needed, python = own["Requires-Python"], platform.python_version()
    fits = SpecifierSet(needed).contains(python, prereleases=True)
    found = f"{python}, needed: {needed}; {sys.executable}"
    remedy = "" if fits else "make the environment with another python3"
    yield Finding("python", OK if fits else PROBLEM, found, remedy)
    good = {"agwm": own["Version"]}
    for requirement in map(Requirement, metadata.requires("agwm") or []):
        name, ranges = requirement.name, requirement.specifier
        version = installed_version(name)
        # What belongs to an extra counts only where it is there.
        optional = requirement.marker and not requirement.marker.evaluate({"extra": ""})
        if version is not None and ranges.contains(version, prereleases=True):
            good[name] = version
        elif version is not None or not optional:
            found = "not installed" if version is None else f"{version}, needed: {ranges}"
            yield Finding(name, PROBLEM, found, f"pip install '{name}{ranges}'")
    yield Finding("packages", OK, ", ".join(f"{name} {good[name]}" for name in good))


def installed_version(name: str) -> str | None:
    """Version of an installed distribution."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def check_device(config: RunConfig) -> Iterator[Finding]:
    """The CPU with cores and threads, and what else torch can compute on."""
    import torch

    may = getattr(os, "sched_getaffinity", None)
    cores = len(may(0)) if may else os.cpu_count() or 1
    threads = config.trainer.threads or torch.get_num_threads()
    found = f"{_cpu_name()}; cores for this process: {cores}, threads: {threads}"
    fits = threads <= cores
    remedy = "" if fits else f"trainer.threads={cores}; more threads than cores wait for each other"
    yield Finding("CPU", OK if fits else NOTE, found, remedy)
    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    for index in range(torch.cuda.device_count() if cuda else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        yield _memory(f"GPU {index}", name, free, total, config)
    asked, version = config.trainer.accelerator, f"torch {torch.__version__}"
    sees = {"gpu": cuda or mps, "cuda": cuda, "mps": mps}
    if not sees.get(asked, True):
        found = f"trainer.accelerator={asked}, and {version} sees none"
        yield Finding("GPU", PROBLEM, found, "trainer.accelerator=auto, or another build of torch")
    elif shutil.which("nvidia-smi") and not cuda:
        remedy = "install a build of torch that fits the driver: https://pytorch.org"
        yield Finding("GPU", NOTE, f"nvidia-smi is here, and {version} sees no GPU", remedy)
    elif not cuda:
        yield Finding("GPU", OK, "Apple's (MPS)" if mps else "none; runs are made on the CPU")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def check_memory(config: RunConfig) -> Iterator[Finding]:
    """Memory of the machine, or of the container where that has less."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    limit, used = _CGROUP / "memory.max", _CGROUP / "memory.current"
    if limit.is_file() and (text := limit.read_text().strip()).isdigit() and int(text) < total:
        total = int(text)
        free = min(free, max(0, total - int(used.read_text())))
    yield _memory("memory", "", free, total, config)


def _memory(about: str, name: str, free: int, total: int, config: RunConfig) -> Finding:
    need = memory_needed(config.model)
    found = f"{name}{'; ' if name else ''}{gib(free)} of {gib(total)} free"
    if free >= need:
        return Finding(about, OK, found)
    found += f"; a search of {config.model.name} keeps about {gib(need)} besides its batches"
    return Finding(about, NOTE, found, "end what else runs here, or choose a smaller model")


def check_runs_dir(config: RunConfig) -> Iterator[Finding]:
    """Whether runs can be written there, and whether there is room for one."""
    folder = Path(config.runs_dir).absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        found = f"{folder}: {there} cannot be written to ({error.strerror})"
        yield Finding("runs_dir", PROBLEM, found, "runs_dir=FOLDER where you may write")
        return
    free, size = shutil.disk_usage(there).free, weights_size(config.model) or 0
    # Every fit but the last leaves a checkpoint of the weights, and at the end there is the model.
    need = len(build_method(config.method).plan()) * size
    found = f"{folder} can be written to; {gib(free)} free"
    found += f", a run takes up to {gib(need)}" if need else ""
    enough = free > need
    remedy = "" if enough else "make room there, or runs_dir=FOLDER on another disk"
    yield Finding("runs_dir", OK if enough else PROBLEM, found, remedy)


def check_encoding(config: RunConfig) -> Iterator[Finding]:
    """Texts and labels in any language want UTF-8."""
    encodings = {
        # Not sys.stdout, in whose place rich puts an object of its own while it shows progress.
        "terminal": getattr(sys.__stdout__, "encoding", None) or "none",
        "file names": sys.getfilesystemencoding(),
        "locale": locale.getpreferredencoding(False),
    }
    found = ", ".join(f"{name} {encoding.lower()}" for name, encoding in encodings.items())
    fits = all(name.lower().replace("-", "") == "utf8" for name in encodings.values())
    remedy = "" if fits else "export PYTHONUTF8=1, or take a UTF-8 locale such as LANG=C.UTF-8"
    yield Finding("encoding", OK if fits else PROBLEM, found, remedy)
