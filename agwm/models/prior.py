"""Start a fresh head at the constant answer that fits the training labels best."""

from collections.abc import Collection, Sequence

import torch
from transformers import PreTrainedModel

from agwm.errors import UserError
from agwm.models.layers import last_linear


@torch.no_grad()
def start_at_prior(
    model: PreTrainedModel,
    fresh: Collection[str],
    labels: Sequence[int] | Sequence[float],
    classes: int,
) -> None:
    """Set the bias of the last layer to the labels' mean, or to the logarithms of their shares.

    Drawn as usual it is 0. AdamW moves it by at most about the sum of its learning rates, which is
    0.01 in ten epochs of 300 examples in batches of 16 at a peak of 1e-4: a mean label of 2.7 is
    then left to the weights.

    Args:
        model: a sequence classifier; changed in place.
        fresh: names of the parameters that were drawn.
        labels: of all training examples, also those that a search keeps for alpha; numbers to
            regress on where `classes` is 0, else codes.
        classes: each counts once more than it occurs, so that no share is 0.

    Raises:
        UserError: the last layer is the checkpoint's, or has no bias.
    """
    name, last = last_linear(model)
    if f"{name}.weight" not in fresh:
        raise UserError(
            f"model.output_bias=prior: {name} comes with the checkpoint; null keeps its bias"
        )
    if last.bias is None:
        raise UserError(f"model.output_bias=prior: {name} of this model has no bias; null works")
    if classes:
        counts = torch.bincount(torch.tensor(labels), minlength=classes) + 1
        last.bias.copy_((counts / counts.sum()).log())
    else:
        last.bias.fill_(sum(labels) / len(labels))
