"""Runs of a sweep on this machine: a process each, a few at a time, in view."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from agwm.errors import require
from agwm.stopping import stoppable
from agwm.sweep.job import Job


class LocalLauncher(Launcher):
    """Hydra launcher; `conf/hydra/launcher/agwm_local.yaml` holds its settings.

    A process of its own for each run, started by the command that would be typed for it: no run
    can change what another one computes, and one that dies takes nothing with it.

    Args:
        max_parallel: runs at a time; None = one for each GPU, 1 without any.
        gpus: their indices, dealt out over the slots; None = those that are visible.
    """

    def __init__(self, max_parallel: int | None, gpus: Sequence[int] | None) -> None:
        self.max_parallel = max_parallel
        self.gpus = gpus

    def setup(
        self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig
    ) -> None:
        """Called by Hydra; raises `UserError` for a setting out of range."""
        self.config = config
        given = self.gpus
        listed = isinstance(given, Sequence) and all(type(gpu) is int for gpu in given)
        valid = given is None or listed
        require(valid, "hydra.launcher.gpus", given, "a list of whole numbers, as [0,1], or null")
        self.gpus = _visible_gpus() if given is None else [str(gpu) for gpu in given]
        slots = max(1, len(self.gpus)) if self.max_parallel is None else self.max_parallel
        valid = type(slots) is int and slots >= 1
        require(valid, "hydra.launcher.max_parallel", slots, "a whole number >= 1 or null")
        self.slots = slots

    def launch(
        self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int
    ) -> list[JobReturn]:
        """Start all runs, wait for them, and say how each ended.

        Raises:
            KeyboardInterrupt: a signal, after every running process was told to stop, and has.
        """
        # A single run, which passes through this file too, need not wait for rich.
        from agwm.sweep.overview import Overview

        waiting = [Job(list(overrides), self._command(overrides)) for overrides in job_overrides]
        shared = set.intersection(*(set(job.overrides) for job in waiting))
        for job in waiting:
            own = [line for line in job.overrides if line not in shared]
            job.label = " ".join(own or job.overrides)
        free = list(range(self.slots))
        running: list[Job] = []
        with Overview(waiting) as overview, stoppable():
            try:
                while waiting or running:
                    while waiting and free:
                        job = waiting.pop(0)
                        running.append(job)
                        job.start(free.pop(0), self._environment)
                        overview.started(job)
                    for job in list(running):
                        if job.ended():
                            running.remove(job)
                            free.append(job.slot)
                            overview.ended(job)
                    overview.show(running)
                    time.sleep(0.1)
            finally:
                _stop(running)
        return [_returned(job) for job in overview.jobs]

    def _command(self, overrides: Sequence[str]) -> list[str]:
        hydra = self.config.hydra
        folders = [s.path for s in hydra.runtime.config_sources if s.provider == "command-line"]
        options = [f"--config-dir={folder}" for folder in folders]
        if hydra.job.config_name != "train":
            options.append(f"--config-name={hydra.job.config_name}")
        kept = [line for line in hydra.overrides.hydra if not line.startswith("hydra.mode=")]
        command = (sys.executable, "-m", "agwm.train", *options)
        return [*command, *overrides, *kept, "hydra.mode=RUN"]

    def _environment(self, slot: int) -> dict[str, str]:
        """What a run in `slot` sees: its share of the threads and its GPU."""
        threads = max(1, _processors() // self.slots)
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ
        # Ours, not the user's wish: a run tells its error in one line, error.txt has the rest.
        environment.pop("HYDRA_FULL_ERROR", None)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return environment


def _stop(running: list[Job]) -> None:
    """Tell all to stop and wait for their last word; for whom asks twice, end them."""
    try:
        for job in running:
            job.interrupt()
        for job in running:
            job.wait()
    except KeyboardInterrupt:
        for job in running:
            job.kill()
        for job in running:
            job.wait()
        raise


def _returned(job: Job) -> JobReturn:
    returned = JobReturn(overrides=job.overrides, status=JobStatus.COMPLETED)
    returned.return_value = job.code
    return returned


def _processors() -> int:
    """Those that this process may use, where the system tells."""
    may = getattr(os, "sched_getaffinity", None)
    return len(may(0)) if may else os.cpu_count() or 1


def _visible_gpus() -> list[str]:
    """Indices of the GPUs; torch, which could say more, takes seconds to import."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True)
    count = 0 if listed.returncode else len(listed.stdout.splitlines())
    return [str(index) for index in range(count)]
