"""Forward and backward pass of K stacked models over one model's: would K searches at once pay?

    python benchmarks/stacked.py [--k 5] [--length 16] [--model minilm] [--device cpu]

K copies of a plain classifier's weights in one batched pass (torch.func: stack_module_state,
functional_call, vmap of grad), each with dropout of its own, against one model's pass. The two take
turns.
"""

import argparse
from copy import deepcopy
from functools import partial

import torch
from shapes import SHAPES, classifier
from steps import batches, seconds
from torch.func import functional_call, grad, stack_module_state, vmap
from turns import medians

from agwm.training.memory import keep_freed_memory


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--k", type=int, default=5)
    arguments.add_argument("--length", type=int, default=16)
    arguments.add_argument("--repetitions", type=int, default=15)
    arguments.add_argument("--model", choices=SHAPES, default="minilm")
    arguments.add_argument("--device", default="cpu")
    given = arguments.parse_args()
    keep_freed_memory()
    model = classifier(given.model).to(given.device).train()
    weights, buffers = stack_module_state([model] * given.k)
    inner, outer = batches(given.length, given.device)
    inner.pop("attention_mask")  # transformers looks at its values, which vmap does not allow
    stacked = {name: torch.stack([value] * given.k) for name, value in inner.items()}

    def loss(weights: dict, buffers: dict, batch: dict) -> torch.Tensor:
        return functional_call(model, (weights, buffers), kwargs=batch).loss

    together = vmap(grad(loss), randomness="different")
    single = deepcopy(model)

    def one(inner: dict, outer: dict) -> None:
        single(**inner).loss.backward()
        single.zero_grad()

    def many(inner: dict, outer: dict) -> None:
        together(weights, buffers, stacked)

    sides = {pass_.__name__: partial(seconds, pass_, inner, outer) for pass_ in (one, many)}
    alone, all_ = medians(sides, given.repetitions).values()
    print(f"length {given.length}: one {alone:.3f} s, {given.k} at once {all_:.3f} s, ", end="")
    print(f"ratio {all_ / alone:.2f}")


if __name__ == "__main__":
    main()
