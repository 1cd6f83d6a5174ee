"""Peak memory of a training step, each side in a process of its own, over that of a vanilla step.

    python benchmarks/memory.py [--model bert_large] [--batch 1] [--length 16] [--sides paper ...]

What the process held before the model was made is taken off. On a GPU it is what torch allocated.
"""

import argparse
import subprocess
import sys

import torch
from shapes import SHAPES, classifier
from steps import SIDES, batches

from agwm.training.memory import keep_freed_memory, peak_memory

STEPS = 3  # the optimizers' states are there from the second on


def measure(given: argparse.Namespace) -> int:
    """Bytes at the peak of a few steps."""
    keep_freed_memory()
    before = 0 if given.device == "cuda" else peak_memory()
    model = classifier(given.model).to(given.device)
    step = SIDES[given.one](model)
    del model
    inner, outer = batches(given.length, given.device, given.batch)
    for _ in range(STEPS):
        step(inner, outer)
    return peak_memory() - before


def main() -> None:
    """Print a line for each side."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    others = [side for side in SIDES if side != "vanilla"]
    arguments.add_argument("--sides", nargs="+", choices=others, default=others)
    arguments.add_argument("--model", choices=SHAPES, default="bert_large")
    arguments.add_argument("--batch", type=int, default=1)
    arguments.add_argument("--length", type=int, default=16)
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--one", choices=SIDES, help="this side alone, in this process")
    given = arguments.parse_args()
    if given.one:
        print(measure(given))
        return
    print(f"torch {torch.__version__}, {given.model}, batch {given.batch}, length {given.length}")
    vanilla = None
    for side in ("vanilla", *given.sides):
        command = [sys.executable, __file__, *sys.argv[1:], "--one", side]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak = int(printed.split()[-1])
        vanilla = vanilla or peak
        print(f"{side:<12} {peak / 2**30:6.2f} GiB  {peak / vanilla:5.2f}", flush=True)


if __name__ == "__main__":
    main()
