"""Parts of a search and of a fit that do not depend on who drives them: no Lightning here."""

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
from torch.nn import Module
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from agwm.errors import RunError
from agwm.numerics.distributed import average
from agwm.numerics.finite import culprit
from agwm.numerics.optim import adamw, clip, weight_groups
from agwm.seeding import derive
from agwm.training.search_step import SearchStep


def search_masks(seed: int, k: int) -> Callable[[int, str], int]:
    """(number of the step, name of the mask) -> seed of a pass's dropout in search `k`."""
    return lambda step, mask: derive(seed, "dropout", "search", k, step, mask)


def warmup_share(ratio: float, steps: int) -> int:
    """Steps of linear warm-up; rounded up, as Hugging Face does."""
    return math.ceil(round(ratio * steps, 9))


def search_optimizers(
    search: SearchStep, lr: float, weight_decay: float, warmup_ratio: float, steps: int
) -> tuple[list[AdamW], list[LambdaLR]]:
    """AdamW on W and AdamW on alpha; linear decay of W's rate and cosine decay of alpha's.

    Args:
        search: whose parameters they are, and whose settings have alpha's rate and decay.
        lr: of W, as are the decay and the ratio.
        weight_decay: on matrices alone.
        warmup_ratio: share of the steps in which both rates rise.
        steps: iterations of the whole search.
    """
    settings = search.settings
    weights = adamw(weight_groups(search.model, lr, weight_decay, search.weights))
    own: dict[str, Any] = {
        "params": list(search.alpha.values()),
        "lr": settings.alpha_lr,
        "weight_decay": settings.alpha_weight_decay,
    }
    alpha = adamw([own])
    warmup = warmup_share(warmup_ratio, steps)
    return [weights, alpha], [
        get_linear_schedule_with_warmup(weights, warmup, steps),
        get_cosine_schedule_with_warmup(alpha, warmup, steps),
    ]


def advance(schedules: Iterable[LRScheduler]) -> None:
    """One iteration further; alpha's optimizer may be stepped at every T-th iteration only."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
        for schedule in schedules:
            schedule.step()


def clip_finite(
    optimizer: Optimizer, max_norm: float, loss: Tensor, model: Module, where: str
) -> None:
    """`clip` the gradients that `loss` has in `model`, in place.

    Raises:
        RunError: the loss or the norm is not finite, in whichever process of a group; it begins
            with `where` and names the tensor.
    """
    (anywhere,) = average([loss])  # else the other processes of a group would wait for one
    if not anywhere.isfinite():
        reason = culprit(model.named_parameters(), "parameter")
        raise RunError(f"{where}: the loss is {anywhere.item()} ({reason})")
    length = clip(optimizer, max_norm)
    if not length.isfinite():
        reason = culprit(((n, p.grad) for n, p in model.named_parameters()), "gradient")
        raise RunError(f"{where}: the norm of the gradient is {length} ({reason})")
