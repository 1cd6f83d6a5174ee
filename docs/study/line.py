"""How a fine-tuned model does on the line from the pretrained weights W0 through its own, W.

    python docs/study/line.py runs/.../seed20 glue/stsb/validation.jsonl

The run is one of the study's, made with save_model=true. For each c the body is W0 + c (W - W0),
the head the fine-tuned one; the best c is what one alpha for all weights could at most have been.
It is read off the file that is scored: a bound, and no way to choose.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from agwm.methods.paint import body, mix
from agwm.models.folder import read_folder
from agwm.models.inference import load_classifier
from agwm.models.pretrained import load_pretrained
from agwm.rerun import saved_config
from agwm.training.metrics import predictions, score

GRID = (0, 0.3, 0.5, 0.7, 0.8, 0.9, 1, 1.1, 1.25, 1.5)


def main(run: Path, file: Path) -> None:
    """Print a row of scores, in percent."""
    config = saved_config(run)
    task = config.task
    pretrained = load_pretrained(replace(config.model, output_bias=None), task, head_seed=0)
    start = body(pretrained.model, pretrained.fresh)
    classifier = load_classifier(read_folder(run), "cpu")
    end = {name: tensor.clone() for name, tensor in classifier.module.state_dict().items()}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    texts = [tuple(row[column] for column in task.columns) for row in rows]
    labels = [row["label"] for row in rows]
    for coefficient in GRID:
        mix(classifier.module, start, end, coefficient)
        predicted = predictions(classifier.logits(texts, 32)[0], task)
        found = score(task.metrics[0], predicted, labels, task)
        print(f"{coefficient}: {100 * found:.2f}", end="  ", flush=True)
    print()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
