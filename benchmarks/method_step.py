"""Time of a method's fine-tuning step over that of a vanilla step: MiniLM, batch 16.

    python benchmarks/method_step.py [--methods mixout r_drop] [--repetitions 15] [--length 32]

The two sides take turns on the same random token ids; medians are
compared. What a method does before training, or in several fits, is not in the figure.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from turns import medians

from agwm.compose import compose_config
from agwm.data.datamodule import GlueDataModule
from agwm.method import build_method
from agwm.models.pretrained import load_pretrained
from agwm.paths import root
from agwm.results.loggers import MetricsCsv
from agwm.training.checkpoints import Checkpoints
from agwm.training.finetune import FineTuneModule
from agwm.training.runner import LightningRunner
from agwm.training.silence import silence

STEPS = 200


class Stepper:
    """What Lightning wraps an optimizer in, for the calls that a fit makes."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.step, self.zero_grad = optimizer.step, optimizer.zero_grad
        self.param_groups = optimizer.param_groups


class Bench(FineTuneModule):
    """The fit's module with its optimizer at hand and its log switched off."""

    def prepare(self) -> "Bench":
        made = self.configure_optimizers()
        self._optimizer, self._schedule = Stepper(made["optimizer"]), made["lr_scheduler"]
        self.model.train()
        return self

    def optimizers(self):
        return self._optimizer

    def lr_schedulers(self):
        return self._schedule

    def manual_backward(self, loss):
        loss.backward()

    def log_dict(self, values):
        pass


def bench(name: str) -> Bench:
    """A fit by method `name`, ready for its first step."""
    config = compose_config(
        "model=minilm",
        f"method={name}",
        "n_train=64",
        "trainer.progress=false",
        "trainer.accelerator=cpu",
    )
    method = build_method(config.method)
    data = GlueDataModule(config.task, config.optim, 0, config.n_train, None)
    loaded = load_pretrained(config.model, config.task, 0, data.train.labels)
    data.tokenize_with(loaded.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, csv = Checkpoints(Path(folder), {}), MetricsCsv(Path(folder))
        runner = LightningRunner(config, loaded, data, [csv], method.plan(), checkpoints)
        model = method.prepare(runner.pretrained(), runner)
    return Bench(model, method, config.optim, STEPS, seed=0).prepare()


def seconds(module: Bench, batch: dict[str, torch.Tensor]) -> float:
    """Wall time of one step."""
    started = time.perf_counter()
    module.training_step(batch, 0)
    return time.perf_counter() - started


def main() -> None:
    """Print a ratio for each method."""
    every = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
    # Their fine-tuning step is vanilla's, or they have none.
    apart = {"agwm", "vanilla", "vanilla_matched", "model_soup", "paint", "linear_probe"}
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--methods", nargs="+", choices=every, default=sorted({*every} - apart))
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--length", type=int, default=32, help="tokens of every text")
    given = arguments.parse_args()
    silence()
    ids = torch.randint(1000, 30000, (16, given.length), generator=torch.manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    batch["labels"] = torch.arange(16) % 2
    vanilla = bench("vanilla")
    for name in given.methods:
        sides = {"vanilla": vanilla, "this": bench(name)}
        times = medians(
            {k: partial(seconds, v, batch) for k, v in sides.items()}, given.repetitions
        )
        print(
            f"{name:<16} length {given.length}, {torch.get_num_threads()} threads: "
            f"vanilla {times['vanilla']:.4f} s, this {times['this']:.4f} s, "
            f"ratio {times['this'] / times['vanilla']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
