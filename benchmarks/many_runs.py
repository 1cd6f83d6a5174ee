"""Memory and open files of one process over many runs, neither of which is to grow.

    python benchmarks/many_runs.py [--runs 500] [key=value ...]

Runs of the tiny model follow each other in this process, by Hydra's own launcher. Further keys
are those of agwm.train, as method=agwm or logger=tensorboard.
"""

import argparse
import gc
import os
import sys
import tempfile
import threading
from contextlib import redirect_stdout
from pathlib import Path

import psutil

from agwm import train

EVERY = 20
RUN = {
    "hydra/launcher": "basic",
    "model": "tiny",
    "method": "vanilla",
    "n_train": "40",
    "logger": "none",
    "trainer.progress": "false",
    "optim.epochs": "1",
}


def main() -> None:
    """Run and print; exits with 1 if memory or files grow in the second half."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--runs", type=int, default=500)
    arguments.add_argument("overrides", nargs="*", metavar="key=value")
    given = arguments.parse_args()
    process, run_once = psutil.Process(), train._run_once
    states: list[tuple[int, int]] = []

    def counted(cfg) -> None:
        run_once(cfg)
        gc.collect()
        states.append((process.memory_info().rss, process.num_fds()))
        if len(states) % EVERY == 0:
            rss, files = states[-1][0] / 2**20, states[-1][1]
            line = f"{len(states):>5} runs: {rss:7.1f} MiB, {files} open files"
            print(f"{line}, {threading.active_count()} threads", file=sys.stderr, flush=True)

    train._run_once = counted
    overrides = RUN | dict(override.split("=", 1) for override in given.overrides)
    with tempfile.TemporaryDirectory() as folder:
        lines = [f"{key}={value}" for key, value in overrides.items()]
        sys.argv = ["agwm.train", "-m", *lines, f"seed=range(0,{given.runs})", f"runs_dir={folder}"]
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            try:
                train.main()
            except SystemExit as left:
                code = left.code
    half = len(states) // 2
    megabytes = (states[-1][0] - states[half][0]) / 2**20
    files = states[-1][1] - states[half][1]
    print(f"{len(states)} runs, exit code {code}")
    grown = f"{megabytes:+.1f} MiB ({megabytes / half:+.3f} a run), {files:+d} open files"
    print(f"in the second half: {grown}")
    sys.exit(code or (1 if megabytes / half > 0.1 or files > 0 else 0))


if __name__ == "__main__":
    main()
