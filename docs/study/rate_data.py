"""Training data of stsb, and 800 more of its training examples to choose a learning rate by.

    python docs/study/rate_data.py glue glue_rate

None of the 800 is among the 300 that n_train=300 draws at seeds 100 and 101, which the report does
not use. `sweeps/study_rate.yaml` runs on what is written.
"""

import random
import sys
from pathlib import Path

from tuning_data import training_lines, write

from agwm.data.sampling import subsample

TASK, SEEDS, N, FURTHER = "stsb", (100, 101), 300, 800


def main(source: Path, target: Path) -> None:
    """Write `target/stsb/train.jsonl`, as it is, and `validation.jsonl`."""
    lines = training_lines(source, TASK)
    used = {index for seed in SEEDS for index in subsample(len(lines), N, seed)}
    rest = [index for index in range(len(lines)) if index not in used]
    random.Random(0).shuffle(rest)
    write(target, TASK, lines, [lines[index] for index in sorted(rest[:FURTHER])])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
