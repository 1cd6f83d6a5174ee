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
        lines = (source / task / "train.jsonl").read_text(encoding="utf-8").splitlines()
        lines = [line for line in lines if line.strip()]
        chosen = [lines[index] for index in subsample(len(lines), N, SEED)]
        (target / task).mkdir(parents=True, exist_ok=True)
        for name, indices in zip(("train", "validation"), split(N, SHARE, SEED, 0), strict=True):
            rows = [json.dumps(json.loads(chosen[index]), ensure_ascii=False) for index in indices]
            path = target / task / f"{name}.jsonl"
            path.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
