"""Time of a training step over that of a vanilla step, ratios within one run.

    python benchmarks/steps.py [--sides paper one_sided ...] [--lengths 16 32] [--repetitions 15]

All sides take turns on the same random token ids; medians are compared, the first two rounds warm
up. Everything is driven without Lightning and needs torch and transformers alone, so that the
figures are those of the numerics and can be had on a bare machine with a GPU. The hypergradient's
error is that of its mixed product in float32 against double backward in float64, same masks.
"""

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial

import torch
from released import ReleasedStep
from shapes import SHAPES, classifier
from torch import nn
from turns import medians

from agwm.bilevel import PRESETS, SearchSettings
from agwm.models.mixed import fix_alpha, mix_pretrained
from agwm.numerics import hypergradient
from agwm.numerics.mixing import init_alpha
from agwm.numerics.optim import adamw, weight_groups
from agwm.training.memory import keep_freed_memory
from agwm.training.search_step import SearchStep

LR, DECAY, BATCH = 2e-5, 0.01, 16
Batch = dict[str, torch.Tensor]
# The radius of appendix A; a one-sided difference of that length is off by a hundredth.
RADIUS = {"one_sided": 5e-4}


def settings(hypergradient_: str) -> SearchSettings:
    """The paper's, with another derivative."""
    return SearchSettings(
        **PRESETS["paper"] | {"hypergradient": hypergradient_},
        hypergradient_steps=1,
        neumann_scale=None,
        fd_radius=RADIUS.get(hypergradient_, 0.01),
        alpha_lr=2e-3,
        alpha_every=1,
        epochs=1,
        inner_fraction=0.8,
    )


def mixed(model: nn.Module) -> nn.Module:
    """Copy of a classifier with all its linear layers but the head mixed."""
    generator = torch.Generator().manual_seed(0)

    def new_alpha(shape: tuple[int, int]) -> tuple[torch.Tensor, ...]:
        return init_alpha(shape, 1, lambda s: torch.randn(s, generator=generator), 0.005)

    head = {f"classifier.{name}" for name, _ in model.classifier.named_parameters()}
    return mix_pretrained(deepcopy(model), head, new_alpha).train()


def finetuning(model: nn.Module) -> Callable[[Batch, Batch], None]:
    """One step of AdamW on the first batch."""
    optimizer = adamw(weight_groups(model.train(), LR, DECAY))

    def step(inner: Batch, outer: Batch) -> None:
        optimizer.zero_grad()
        model(**inner).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def searching(model: nn.Module, kind: str) -> Callable[[Batch, Batch], None]:
    """One iteration of the search with that derivative."""
    step = SearchStep(model, settings(kind), lambda number, mask: number)
    optimizers = [
        adamw(weight_groups(model, LR, DECAY, step.weights)),
        adamw([{"params": list(step.alpha.values()), "lr": 2e-3, "weight_decay": 0.01}]),
    ]
    return lambda inner, outer: step(inner, outer, optimizers)


SIDES: dict[str, Callable[[nn.Module], Callable[[Batch, Batch], object]]] = {
    "vanilla": lambda model: finetuning(deepcopy(model)),
    "mixed": lambda model: finetuning(fix_alpha(mixed(model))),
    "paper": lambda model: searching(mixed(model), "finite_difference"),
    "one_sided": lambda model: searching(mixed(model), "one_sided"),
    "first_order": lambda model: searching(mixed(model), "none"),
    "released": lambda model: ReleasedStep(deepcopy(model), LR, DECAY),
}


def error(model: nn.Module, kind: str, inner: Batch, outer: Batch) -> float:
    """Relative error of J v in the model's precision, against double backward in float64."""
    products = []
    for exact in (True, False):
        own = mixed(model).double() if exact else mixed(model)
        step = SearchStep(own, settings(kind), lambda number, mask: number)
        weights, alpha = list(step.weights.values()), list(step.alpha.values())
        v = hypergradient.gradients(step.loss(outer, "outer")(weights, alpha), weights)
        loss = step.loss(inner, "inner")
        if exact:
            products.append(hypergradient.exact(loss, weights, alpha, v))
            continue
        product = getattr(hypergradient, kind)
        eps = step.settings.fd_radius / hypergradient.norm(v).item()
        products.append(product(loss, weights, alpha, v, eps))
    pairs = [(a, b.double()) for a, b in zip(*products, strict=True)]
    return float(hypergradient.norm([a - b for a, b in pairs]) / hypergradient.norm(products[0]))


def seconds(step: Callable[[Batch, Batch], object], inner: Batch, outer: Batch) -> float:
    """Wall time of one step."""
    on_gpu = inner["labels"].is_cuda
    if on_gpu:
        torch.cuda.synchronize()
    started = time.perf_counter()
    step(inner, outer)
    if on_gpu:
        torch.cuda.synchronize()
    return time.perf_counter() - started


def batches(length: int, device: str, size: int = BATCH) -> tuple[Batch, Batch]:
    """An inner and an outer batch of random tokens."""
    generator = torch.Generator().manual_seed(length)
    made = []
    for _ in range(2):
        ids = torch.randint(1000, 28000, (size, length), generator=generator)
        labels = torch.arange(size) % 2
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
        made.append({name: tensor.to(device) for name, tensor in batch.items()})
    return made[0], made[1]


def main() -> None:
    """Print a line for each side and length."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    others = [side for side in SIDES if side != "vanilla"]
    arguments.add_argument("--sides", nargs="+", choices=others, default=others)
    arguments.add_argument("--lengths", nargs="+", type=int, default=[16, 32, 64, 128])
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--model", choices=SHAPES, default="minilm")
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--returning", action="store_true", help="free as malloc does by itself")
    given = arguments.parse_args()
    if not given.returning:
        keep_freed_memory()
    model = classifier(given.model).to(given.device)
    threads = torch.get_num_threads()
    print(f"torch {torch.__version__}, {given.model}, {given.device}, {threads} threads")
    print(f"{'length':>6} {'side':<12} {'seconds':>9} {'ratio':>6}  error of J v")
    for length in given.lengths:
        inner, outer = batches(length, given.device)
        sides = {
            name: partial(seconds, SIDES[name](model), inner, outer)
            for name in ("vanilla", *given.sides)
        }
        times = medians(sides, given.repetitions)
        for name, taken in times.items():
            kind = {"paper": "finite_difference", "one_sided": "one_sided"}.get(name)
            off = f"{error(model, kind, inner, outer):.1e}" if kind else ""
            ratio = taken / times["vanilla"]
            print(f"{length:>6} {name:<12} {taken:>9.4f} {ratio:>6.2f}  {off}", flush=True)


if __name__ == "__main__":
    main()
