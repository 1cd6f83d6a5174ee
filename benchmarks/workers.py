"""Throughput of a sweep: one worker with all threads against as many workers of one thread each.

    python benchmarks/workers.py [--runs 8] [--repeats 2] [key=value ...]

The same runs both ways, in turn; the ratio of the median seconds is printed. MiniLM on 100
generated sentences unless keys say otherwise. The machine must have nothing else to do.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from statistics import median

DEFAULTS = ["model=minilm", "n_train=100", "method=vanilla"]
FIXED = ["logger=none", "save_model=false"]


def seconds(workers: int, runs: int, keys: list[str]) -> float:
    """Wall time of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "agwm.train", "-m", *DEFAULTS, *keys, *FIXED]
        command += [f"seed=range(0,{runs})", f"hydra.launcher.max_parallel={workers}"]
        started = time.perf_counter()
        subprocess.run([*command, f"runs_dir={folder}"], check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    options, keys = parser.parse_known_args()
    many = len(os.sched_getaffinity(0))
    taken: dict[int, list[float]] = {1: [], many: []}
    for _ in range(options.repeats):
        for workers, found in taken.items():
            found.append(seconds(workers, options.runs, keys))
            print(f"{workers} workers, {many // workers} threads each: {found[-1]:.1f} s")
    ratio = median(taken[1]) / median(taken[many])
    print(f"throughput of {many} workers over 1: {ratio:.2f}")


if __name__ == "__main__":
    main()
