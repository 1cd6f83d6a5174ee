"""Training data of the study's tuning seed, cut into a part to train on and a part to choose by.

    python docs/study/tuning_data.py glue glue_tuning

The 300 examples are those that n_train=300 draws at seed 100, which the report does not use; 60 of
them become the validation file. `sweeps/study_tuning.yaml` runs on what is written.
"""

import json
import sys
from pathlib import Path

from agwm.data.sampling import split, subsample

SEED, N, SHARE = 100, 300, 0.8
TASKS = ("sst2", "stsb")


def main(source: Path, target: Path) -> None:
    """Write `target/<task>/train.jsonl` and `validation.jsonl`."""
    for task in TASKS:
        lines = training_lines(source, task)
        chosen = [lines[index] for index in subsample(len(lines), N, SEED)]
        rows = [json.dumps(json.loads(line), ensure_ascii=False) for line in chosen]
        parts = ([rows[index] for index in indices] for indices in split(N, SHARE, SEED, 0))
        write(target, task, *parts)


def training_lines(source: Path, task: str) -> list[str]:
    """One JSON object each."""
    lines = (source / task / "train.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.strip()]


def write(target: Path, task: str, train: list[str], validation: list[str]) -> None:
    """The two files of a task."""
    (target / task).mkdir(parents=True, exist_ok=True)
    for name, lines in (("train", train), ("validation", validation)):
        path = target / task / f"{name}.jsonl"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
