"""Time of vanilla fine-tuning in `trainer.fit` over that of a bare PyTorch loop: MiniLM.

    python benchmarks/fit.py [--repetitions 15] [--epochs 2] [key=value ...]

The same batches of 300 generated sentences and the same recipe; on one side all that a run's fit
does (hooks, seeds, checks, metrics.csv, the trainer's own start), on the other nothing else. The
two take turns; medians of the whole fits are compared, the first round warms up.
"""

import argparse
import tempfile
import time
from copy import deepcopy
from pathlib import Path

import torch
from transformers import get_linear_schedule_with_warmup
from turns import medians

from agwm.compose import compose_config
from agwm.config import RunConfig
from agwm.data.datamodule import GlueDataModule
from agwm.method import Method, build_method
from agwm.models.pretrained import Pretrained, load_pretrained
from agwm.numerics.optim import adamw, weight_groups
from agwm.results.loggers import MetricsCsv
from agwm.training.checkpoints import Checkpoints
from agwm.training.finetune import warmup_steps
from agwm.training.memory import keep_freed_memory
from agwm.training.runner import LightningRunner
from agwm.training.silence import silence


def fitted(config: RunConfig, method: Method, loaded: Pretrained, data: GlueDataModule) -> float:
    """Seconds of a run's fit."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, csv = Checkpoints(Path(folder), {}), MetricsCsv(Path(folder))
        runner = LightningRunner(config, loaded, data, [csv], method.plan(), checkpoints)
        method.run(runner)
        return runner.account.phases[-1]["seconds"]


def looped(model: torch.nn.Module, config: RunConfig, data: GlueDataModule) -> float:
    """Seconds of the bare loop."""
    optim, loader = config.optim, data.train_dataloader(None)
    steps = optim.epochs * len(loader)
    started = time.perf_counter()
    model.train()
    optimizer = adamw(weight_groups(model, optim.lr, optim.weight_decay))
    schedule = get_linear_schedule_with_warmup(optimizer, warmup_steps(optim, steps), steps)
    for _ in range(optim.epochs):
        for batch in loader:
            optimizer.zero_grad()
            model(**batch).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), optim.max_grad_norm)
            optimizer.step()
            schedule.step()
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--epochs", type=int, default=2)
    given, keys = arguments.parse_known_args()
    silence()
    keep_freed_memory()
    config = compose_config(
        *("model=minilm", "method=vanilla", "n_train=300", f"optim.epochs={given.epochs}"),
        *("trainer.progress=false", "trainer.accelerator=cpu", *keys),
    )
    method = build_method(config.method)
    data = GlueDataModule(config.task, config.optim, 0, config.n_train, config.data_dir)
    loaded = load_pretrained(config.model, config.task, 0, data.train.labels)
    data.tokenize_with(loaded.tokenizer)
    sides = {
        "bare loop": lambda: looped(deepcopy(loaded.model), config, data),
        "trainer.fit": lambda: fitted(config, method, loaded, data),
    }
    times = medians(sides, given.repetitions, warm_up=1)
    steps = config.optim.epochs * len(data.train_dataloader(None))
    for name, taken in times.items():
        ratio = taken / times["bare loop"]
        print(f"{name:<12} {taken / steps:.4f} s a step of {steps}, ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
