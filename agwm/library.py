"""The method for models and loaders of one's own: what `agwm` exports, without Hydra or Lightning.

A search and a fit here are those of `method=agwm`, bit for bit where the batches are the same: the
settings have the names and the values of `conf/method/agwm.yaml`, each draw its stream of
`(seed, purpose)`. Models are trained where they are; batches follow them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module
from transformers import get_linear_schedule_with_warmup

from agwm.bilevel import PRESETS, SearchSettings
from agwm.errors import UserError, require
from agwm.mixture import Mixture
from agwm.models.mixed import alpha_parameters, mixed_linears
from agwm.numerics.distributed import average_gradients
from agwm.numerics.optim import adamw, weight_groups
from agwm.numerics.rng import seeded
from agwm.seeding import derive, stream
from agwm.training.plain import (
    advance,
    clip_finite,
    search_masks,
    search_optimizers,
    warmup_share,
)
from agwm.training.search_step import SearchStep

Batch = Mapping[str, Tensor]  # what the model takes, labels included, so that it gives a loss
Log = Callable[[dict[str, Tensor | float]], None]


class Loader(Protocol):
    """Batches that can be gone through again and again: a DataLoader, a list."""

    def __len__(self) -> int:
        """Batches of one pass."""

    def __iter__(self) -> Iterator[Batch]:
        """One pass."""


def mixed(
    model: Module,
    *,
    fresh: str | Collection[str] | None = None,
    rank: int | str = 1,
    mix_form: str = "product",
    alpha_init_std: float = 0.005,
    alpha_init_mean: float = 1.0,
    xlnet_attention: bool = False,
    seed: int = 0,
    k: int = 0,
) -> Module:
    """Copy of `model` in which every pretrained `nn.Linear` is a mixture of W and a frozen W0.

    Args:
        model: with pretrained weights, in float32 or float64.
        fresh: names of parameters, or of modules, that are not pretrained and so are not mixed;
            None = all outside `model.base_model`, which is the head of a Hugging Face model. Where
            the checkpoint lacked more, say a pooler, give `missing_keys` of
            `from_pretrained(..., output_loading_info=True)`.
        rank: r >= 1 of alpha; "full", "row" or "layer" for one attention parameter per entry, per
            row or per weight, without factors.
        mix_form: "product" (section 3.2 of the paper) or "convex" (section 3.1).
        alpha_init_std: of the normal distribution that alpha is drawn from, clipped to [0, 1].
        alpha_init_mean: its mean.
        xlnet_attention: whether XLNet's attention, which is not nn.Linear, is mixed too.
        seed: of the draw of alpha.
        k: number of the search, from 0; each draws its own alpha.

    Raises:
        UserError: a value out of range, an unknown name in `fresh`, nothing to mix, or weights in
            another precision.
    """
    mixture = Mixture(
        rank=rank,
        mix_form=mix_form,
        alpha_init_std=alpha_init_std,
        alpha_init_mean=alpha_init_mean,
        xlnet_attention=xlnet_attention,
    )
    names = _head(model) if fresh is None else _parameters(model, fresh)
    own = mixture.put_into(deepcopy(model), names, stream(seed, "alpha", k))
    layers = list(mixed_linears(own))
    require(bool(layers), "model", type(model).__name__, "one with nn.Linear outside its head")
    for name, layer in layers:
        known = layer.weight.dtype in (torch.float32, torch.float64)
        require(
            known, name, layer.weight.dtype, "float32: from_pretrained(..., dtype=torch.float32)"
        )
    return own


def search(
    model: Module,
    inner: Loader,
    outer: Loader,
    *,
    lr: float,
    weight_decay: float = 0.01,
    warmup_ratio: float = 0.1,
    epochs: int = 3,
    preset: str = "paper",
    alpha_lr: float = 2e-3,
    alpha_every: int = 1,
    fd_radius: float = 0.01,
    hypergradient_steps: int = 3,
    neumann_scale: float | None = None,
    seed: int = 0,
    k: int = 0,
    log: Log | None = None,
    **switches: Any,
) -> Module:
    """Learn W on `inner` and alpha on `outer`, in place, by bilevel optimization; returns `model`.

    Args:
        model: from `mixed`.
        inner: batches for W; an epoch is one pass over them.
        outer: batches of other examples, for alpha; gone through at their own pace.
        lr: of AdamW on W; linear warm-up, then linear decay.
        weight_decay: of W, on matrices alone.
        warmup_ratio: share of the steps in which the rates of W and alpha rise.
        epochs: over `inner`.
        preset: one of `agwm.bilevel.PRESETS`, which says what an iteration does.
        alpha_lr: of AdamW on alpha; the same warm-up, then cosine decay.
        alpha_every: alpha is stepped at every T-th iteration.
        fd_radius: displacement of W in the difference quotients, L2 over all tensors.
        hypergradient_steps: terms, iterations or steps of the hypergradients that have them.
        neumann_scale: factor of the Neumann series; None = the learning rate of W now.
        seed: of the dropout masks.
        k: number of the search, from 0; each has its own masks.
        log: called after each iteration with its losses, learning rates, norms of both terms of
            the hypergradient and their cosine.
        **switches: of `agwm.bilevel.SearchSettings`, over those of the preset.

    Raises:
        UserError: a value out of range, alpha missing or fixed, or a loader that gives nothing.
        RunError: a loss or a gradient is not finite.
    """
    require(preset in PRESETS, "preset", preset, "one of " + ", ".join(PRESETS))
    _trainable(model, True, "search(mixed(model), ...)")
    settings = SearchSettings(
        **PRESETS[preset] | switches,
        epochs=epochs,
        inner_fraction=0.5,  # whoever calls has split the examples
        alpha_lr=alpha_lr,
        alpha_every=alpha_every,
        fd_radius=fd_radius,
        hypergradient_steps=hypergradient_steps,
        neumann_scale=neumann_scale,
    )
    step = SearchStep(model, settings, search_masks(seed, k), f"search {k + 1}")
    optimizers, schedules = search_optimizers(
        step, lr, weight_decay, warmup_ratio, epochs * _length(inner, "inner")
    )
    outer_batches = _endless(outer, "outer", model)
    was_training = model.training
    model.train()
    for _ in range(epochs):
        for batch in inner:
            if step.step % alpha_every == 0:
                outer_batch = next(outer_batches)
            rates = [schedule.get_last_lr()[0] for schedule in schedules]
            logged = step(_placed(batch, model), outer_batch, optimizers)
            advance(schedules)
            if log is not None:
                log({**logged, "lr": rates[0], "alpha_lr": rates[1]})
    return model.train(was_training)


def finetune(
    model: Module,
    loader: Loader,
    *,
    lr: float,
    weight_decay: float = 0.01,
    warmup_ratio: float = 0.1,
    epochs: int = 3,
    max_grad_norm: float = 1.0,
    seed: int = 0,
    log: Log | None = None,
) -> Module:
    """Train what is trainable in `model`, in place, by AdamW; returns `model`.

    Any other loop does as well: with alpha fixed a mixed model is trained like an ordinary one.

    Args:
        model: mixed, its alpha fixed (`fix_alpha`), or a plain one.
        loader: batches.
        lr: linear warm-up, then linear decay.
        weight_decay: on matrices alone.
        warmup_ratio: share of the steps in which the rate rises.
        epochs: passes over `loader`.
        max_grad_norm: L2 norm that the gradient is clipped to.
        seed: of the dropout masks.
        log: called after each step with its loss and learning rate.

    Raises:
        UserError: alpha is not fixed, or the loader gives nothing.
        RunError: a loss or a gradient is not finite.
    """
    _trainable(model, False, "finetune(fix_alpha(model), ...)")
    steps = epochs * _length(loader, "loader")
    optimizer = adamw(weight_groups(model, lr, weight_decay))
    schedule = get_linear_schedule_with_warmup(optimizer, warmup_share(warmup_ratio, steps), steps)
    batches = _endless(loader, "loader", model)
    was_training = model.training
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        batch = next(batches)  # a DataLoader may draw: not from the stream of the masks
        with seeded(derive(seed, "dropout", step)):
            loss = model(**batch).loss
            loss.backward()
        average_gradients(model.parameters())
        clip_finite(optimizer, max_grad_norm, loss, model, f"finetune, step {step}")
        rate = schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
        if log is not None:
            log({"loss": loss.detach(), "lr": rate})
    optimizer.zero_grad()
    return model.train(was_training)


def _head(model: Module) -> set[str]:
    """Names of the parameters outside the pretrained body."""
    if getattr(model, "base_model", model) is model:
        return set()
    return {
        name for name in model.state_dict() if not name.startswith(f"{model.base_model_prefix}.")
    }


def _parameters(model: Module, given: str | Collection[str]) -> set[str]:
    """Names of the parameters that are meant by names of parameters or modules."""
    found = set()
    for part in [given] if isinstance(given, str) else given:
        own = {n for n in model.state_dict() if n == part or n.startswith(f"{part}.")}
        children = ", ".join(name for name, _ in model.named_children())
        require(bool(own), "fresh", part, f"a parameter or a module of the model ({children}, ...)")
        found |= own
    return found


def _trainable(model: Module, wanted: bool, way_out: str) -> None:
    """Raise unless alpha is there and trainable, or not trainable if that is not wanted."""
    found = any(factor.requires_grad for factor in alpha_parameters(model).values())
    if found != wanted:
        raise UserError(f"alpha={'trainable' if found else 'missing or fixed'}: do {way_out}")


def _length(loader: Loader, name: str) -> int:
    steps = len(loader)
    require(steps >= 1, name, f"{steps} batches", "one or more")
    return steps


def _endless(loader: Loader, name: str, model: Module) -> Iterator[Batch]:
    """Passes over the loader, one after the other, on the model's device."""
    while True:
        count = 0
        for batch in loader:
            yield _placed(batch, model)
            count += 1
        require(count > 0, name, "no batch", "a loader that can be gone through again")


def _placed(batch: Batch, model: Module) -> Batch:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}
