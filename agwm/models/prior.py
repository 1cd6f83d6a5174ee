"""Start a fresh head at the constant answer that fits the training labels best."""

from collections.abc import Collection, Sequence

import torch
from torch import nn

from agwm.errors import UserError


@torch.no_grad()
def start_at_prior(
    model: nn.Module, fresh: Collection[str], labels: Sequence[int] | Sequence[float], classes: int
) -> None:
    """Set the bias of the last layer, if it is fresh, to the labels' mean or their log shares.

    Drawn as usual the bias is near 0. AdamW moves it by at most the sum of its learning rates,
    which is 0.01 in ten epochs of 300 examples at 1e-4: a mean label of 2.6 is then left to the
    weights.

    Args:
        model: a sequence classifier; changed in place.
        fresh: names of the parameters that are drawn.
        labels: of the training examples; numbers to regress on where `classes` is 0, else codes.
        classes: each counts once more than it occurs, so that no share is 0.

    Raises:
        UserError: the last layer has no bias.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and f"{name}.weight" in fresh
    ]
    if not layers:
        return  # a trained head has its bias
    name, last = layers[-1]
    if last.bias is None:
        raise UserError(f"model.output_bias=prior: {name} of this model has no bias; null works")
    if classes:
        counts = torch.bincount(torch.tensor(labels), minlength=classes) + 1
        last.bias.copy_((counts / counts.sum()).log())
    else:
        last.bias.fill_(sum(labels) / len(labels))
