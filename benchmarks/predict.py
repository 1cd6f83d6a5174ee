"""Peak memory of agwm.predict over the number of its rows, which is to make no difference.

    python benchmarks/predict.py [--rows 20000,200000]

Texts of a tiny model, from CSV to CSV, each number of rows in a process of its own.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUN = ["model=tiny", "method=vanilla", "n_train=40", "logger=none", "sweep=x"]


def trained(folder: Path) -> Path:
    """A run's folder with a tiny model."""
    command = [sys.executable, "-m", "agwm.train", *RUN, f"runs_dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    (model,) = folder.rglob("model")
    return model


def write_rows(path: Path, rows: int) -> None:
    """A CSV of texts of 3 to 40 words."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for row in range(rows):
            writer.writerow([row, " ".join(["the time is now"] * (1 + row % 10)) + f" {row}"])


def peak(command: list[str]) -> tuple[float, float]:
    """Peak resident memory in MB, and seconds, of a command that is to succeed."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed; run it to see why")
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return kilobytes / 1024, time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--rows", default="20000,200000")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = trained(folder / "runs")
        for rows in map(int, given.rows.split(",")):
            write_rows(folder / "in.csv", rows)
            out = folder / f"{rows}.csv"
            command = [sys.executable, "-m", "agwm.predict", str(model), str(folder / "in.csv")]
            megabytes, seconds = peak([*command, "--text", "text", "-o", str(out)])
            print(f"{rows:>8} rows: {megabytes:6.0f} MB at most, {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main()
