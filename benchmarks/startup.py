"""Seconds until something happens: help, a mistake, the first step of a run; each a new process.

    python benchmarks/startup.py [--repetitions 15]

The first step is that of MiniLM on 300 generated sentences, over what importing torch, transformers
and lightning takes alone. All take turns; medians are printed.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from functools import partial

from turns import medians

IMPORTS = [sys.executable, "-c", "import torch, transformers, lightning"]
TRAIN = [sys.executable, "-m", "agwm.train"]
RUN = ["model=minilm", "method=vanilla", "n_train=300", "logger=none", "trainer.progress=false"]
# The process ends itself when its first optimizer step begins.
FIRST_STEP = """
import os, sys
from torch.optim import AdamW
AdamW.step = lambda *_, **__: os._exit(77)
from agwm.train import main
main()
"""


def seconds(command: list[str], code: int) -> float:
    """Wall time of a command that ends with that exit code."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    taken = time.perf_counter() - started
    if done.returncode != code:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return taken


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repetitions", type=int, default=15)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first = [sys.executable, "-c", FIRST_STEP, *RUN, f"runs_dir={folder}", "force=true"]
        commands = {
            "imports alone": partial(seconds, IMPORTS, 0),
            "--help": partial(seconds, [*TRAIN, "--help"], 0),
            "a mistake (optim.lr=-1)": partial(seconds, [*TRAIN, "optim.lr=-1"], 2),
            "first step": partial(seconds, first, 77),
        }
        times = medians(commands, given.repetitions, warm_up=1)  # which fills the disk's cache
    imports = times["imports alone"]
    for name, taken in times.items():
        print(f"{name:<24} {taken:6.2f} s   {taken / imports:5.2f} of the imports")


if __name__ == "__main__":
    main()
