"""The report on many runs, over the time that pandas takes to read the same JSON files.

    python benchmarks/report.py [--repetitions 5] [--examples 500]

2,000 records of 100 cells (5 tasks, 2 numbers of examples, 10 methods, 20 seeds) with the
predictions beside them. Both sides are processes of their own, imports included, and take turns;
medians are printed. --profile shows where the report's own time goes.
"""

import argparse
import cProfile
import json
import pstats
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from turns import medians

TASKS = ("cola", "rte", "mrpc", "sst2", "stsb")
METHODS = ("vanilla", *(f"method_{letter}" for letter in "abcdefghi"))
PANDAS = """
import sys
from pathlib import Path
import pandas
for path in Path(sys.argv[1]).rglob("record.json"):
    pandas.read_json(path, typ="series")
    pandas.read_json(path.with_name("predictions.jsonl"), lines=True)
"""


def write_runs(folder: Path, examples: int) -> int:
    """Write the records and predictions; gives their number."""
    rng = np.random.default_rng(0)
    cells = list(product(TASKS, (300, 1000), METHODS, range(20)))
    for task, n_train, method, seed in cells:
        run = folder / "single" / task / "tiny" / method / f"n{n_train}" / f"seed{seed}"
        run.mkdir(parents=True)
        value = float(rng.normal(60 + METHODS.index(method), 2))
        (run / "record.json").write_text(json.dumps(record(task, n_train, method, seed, value)))
        chances, labels = rng.random(examples), rng.integers(0, 2, examples)
        rows = (
            {"id": i, "label": int(y), "prediction": int(p > 0.5), "scores": [1 - p, p]}
            for i, (y, p) in enumerate(zip(labels, chances, strict=True))
        )
        (run / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return len(cells)


def record(task: str, n_train: int, method: str, seed: int, value: float) -> dict:
    """A finished run's record, as full as a real one."""
    cost = {"forward_passes": 900, "backward_passes": 900, "optimizer_steps": 900}
    return {
        "schema_version": 1,
        "status": "ok",
        "task": task,
        "model": "tiny",
        "method": method,
        "n_train": n_train,
        "seed": seed,
        "sweep": "single",
        "config_hash": f"{seed:012x}",
        "cell_hash": f"{METHODS.index(method):012x}",
        "variant": [],
        "headline": {"name": "accuracy", "value": value},
        "baseline": 50.0,
        "degenerate": False,
        "metrics": {"accuracy": value / 100},
        "phases": [{"name": "finetune", "steps": 57, "epochs": 3, "seconds": 10.0}],
        "cost": cost | {"train_seconds": 10.0 + seed, "total_seconds": 12.0 + seed},
        "peak_memory_bytes": 2**30,
        "subsample_hash": f"{seed:012x}",
        "versions": {"agwm": "0.1.0", "torch": "2.13.0", "python": "3.11.0"},
        "git": {"commit": "0" * 40, "dirty": False},
        "device": "cpu, 1 threads",
        "started_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T00:00:12Z",
        "error": None,
    }


def seconds(command: list[str]) -> float:
    """Wall time of a command that is to succeed."""
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repetitions", type=int, default=5)
    arguments.add_argument("--examples", type=int, default=500, help="predictions of a run")
    arguments.add_argument("--profile", action="store_true")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, out = Path(folder, "runs"), Path(folder, "out")
        count = write_runs(runs, given.examples)
        if given.profile:
            profile([str(runs), "--out", str(out)])
            return
        ours = [sys.executable, "-m", "agwm.report", str(runs), "--out", str(out)]
        sides = {"pandas reads": [sys.executable, "-c", PANDAS, str(runs)], "agwm.report": ours}
        timed = {name: partial(seconds, command) for name, command in sides.items()}
        times = medians(timed, given.repetitions, warm_up=1)  # which fills the disk's cache
    print(f"{count} runs, {given.examples} predictions each")
    for name, taken in times.items():
        print(f"{name:<13} {taken:6.2f} s   {taken / times['pandas reads']:5.2f}")


def profile(argv: list[str]) -> None:
    """Where the time of one report goes."""
    from agwm.report.__main__ import main as report

    with cProfile.Profile() as profiled:
        report(argv)
    pstats.Stats(profiled).sort_stats("cumulative").print_stats(45)


if __name__ == "__main__":
    main()
