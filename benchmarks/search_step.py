"""Time of a search step over that of a vanilla step: MiniLM, batch 16, ratios within one run.

    python benchmarks/search_step.py [--length 16] [--repetitions 15] [--preset paper]

The two sides alternate; the medians are compared. Both are driven without Lightning, on random
token ids, so that the figure is that of the numerics.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from statistics import median

import torch

from agwm.bilevel import PRESETS
from agwm.config import compose_config
from agwm.method import build_method
from agwm.models.mixed import mix_pretrained
from agwm.models.pretrained import load_pretrained
from agwm.numerics.mixing import init_alpha
from agwm.numerics.optim import adamw, weight_groups
from agwm.training.search import BilevelSearchModule


class Bench(BilevelSearchModule):
    """The search module with its optimizers at hand and its log switched off."""

    def prepare(self) -> "Bench":
        self._made = self.configure_optimizers()
        self.model.train()
        return self

    def optimizers(self):
        return [Stepper(optimizer) for optimizer in self._made[0]]

    def lr_schedulers(self):
        return self._made[1]

    def log_dict(self, values):
        pass


class Stepper:
    """What Lightning wraps an optimizer in, for the calls that the search makes."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        self.step, self.zero_grad = optimizer.step, optimizer.zero_grad
        self.param_groups = optimizer.param_groups


def seconds(step: Callable[[], None]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def main() -> None:
    """Print the two medians and their ratio."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--length", type=int, default=16, help="tokens of every text")
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--preset", choices=PRESETS, default="paper")
    given = arguments.parse_args()

    config = compose_config("model=minilm", f"method.preset={given.preset}")
    loaded = load_pretrained(config.model, config.task, head_seed=0)

    def batch() -> dict[str, torch.Tensor]:
        ids = torch.randint(1000, 30000, (config.optim.batch_size, given.length))
        labels = torch.randint(0, 2, (config.optim.batch_size,))
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}

    inner, outer = batch(), batch()
    plain = deepcopy(loaded.model).train()
    optimizer = adamw(weight_groups(plain, config.optim.lr, config.optim.weight_decay))

    def vanilla_step() -> None:
        optimizer.zero_grad()
        plain(**inner).loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), config.optim.max_grad_norm)
        optimizer.step()

    mixed = mix_pretrained(
        loaded.model, loaded.fresh, lambda shape: init_alpha(shape, 1, torch.randn, 0.005)
    )
    settings = build_method(config.method).settings()
    search = Bench(mixed, settings, config.optim, steps=10**6, seed=0, k=0).prepare()

    def search_step() -> None:
        search.training_step({"inner": inner, "outer": outer}, 0)

    times: dict[str, list[float]] = {"vanilla": [], "search": []}
    for repetition in range(given.repetitions + 2):
        one, other = seconds(vanilla_step), seconds(search_step)
        if repetition >= 2:  # the first two warm up
            times["vanilla"].append(one)
            times["search"].append(other)
    vanilla, searched = median(times["vanilla"]), median(times["search"])
    print(
        f"length {given.length}, {given.preset}, {torch.get_num_threads()} threads: "
        f"vanilla {vanilla:.4f} s, search {searched:.4f} s, ratio {searched / vanilla:.2f}"
    )


if __name__ == "__main__":
    main()
