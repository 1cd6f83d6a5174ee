"""Time of a search step on CoLA's sentences: ours, and the released formulation's at length 128.

    python benchmarks/cola.py data_dir=FOLDER [--repetitions 15]

MiniLM, batch 16. Ours is padded to the longest sentence of each batch, the released formulation
pads all to 128. The two take turns batch by batch; the sums over all batches are compared.
"""

import argparse

import torch
from shapes import classifier
from steps import SIDES, Batch, seconds

from agwm.compose import compose_config
from agwm.data.datamodule import GlueDataModule
from agwm.models.pretrained import load_tokenizer
from agwm.training.memory import keep_freed_memory

LENGTH = 128


def padded(batch: Batch) -> Batch:
    """The same texts, filled up to `LENGTH`."""
    missing = LENGTH - batch["input_ids"].shape[1]
    return {
        name: torch.nn.functional.pad(value, (0, missing)) if value.dim() == 2 else value
        for name, value in batch.items()
    }


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repetitions", type=int, default=15, help="batches")
    given, keys = arguments.parse_known_args()
    keep_freed_memory()
    config = compose_config("task=cola", "model=minilm", "n_train=600", *keys)
    data = GlueDataModule(config.task, config.optim, 0, config.n_train, config.data_dir)
    data.tokenize_with(load_tokenizer(config.model))
    model = classifier("minilm")
    ours, released = SIDES["paper"](model), SIDES["released"](model)
    total, lengths = [0.0, 0.0], []
    for index, (pair, *_) in enumerate(data.search_dataloader(0, 0.8)):
        inner, outer = pair["inner"], pair["outer"]
        pairs = (ours, inner, outer), (released, padded(inner), padded(outer))
        taken = [seconds(step, *both) for step, *both in pairs]
        if index >= 2:  # the first two warm up
            total = [sum(both) for both in zip(total, taken, strict=True)]
            lengths.append(inner["input_ids"].shape[1])
        if len(lengths) == given.repetitions:
            break
    print(
        f"{len(lengths)} batches of {sum(lengths) / len(lengths):.0f} tokens on average: "
        f"ours {total[0] / len(lengths):.3f} s, released {total[1] / len(lengths):.3f} s, "
        f"ratio {total[1] / total[0]:.1f}"
    )


if __name__ == "__main__":
    main()
