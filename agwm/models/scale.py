"""The units of a regression: learned as (label - mean) / std, given out as the labels are."""

from collections.abc import Collection

import torch
from torch import nn
from transformers import PreTrainedModel

from agwm.errors import UserError
from agwm.models.layers import last_linear


def start_in_units(model: PreTrainedModel, fresh: Collection[str], mean: float, std: float) -> None:
    """Let a head that came with the checkpoint go on where it was; one that was drawn stays.

    Args:
        model: a sequence classifier with one output; changed in place.
        fresh: names of the parameters that were drawn.
        mean: of the training labels.
        std: their standard deviation.

    Raises:
        UserError: the last layer has no bias, which `rescale` will need.
    """
    name, last = last_linear(model)
    if last.bias is None:
        raise UserError(
            f"task.standardize=true, as numbers of a file have it: {name} of this model has no "
            "bias; false works"
        )
    if f"{name}.weight" not in fresh:
        rescale(model, -mean / std, 1 / std)


@torch.no_grad()
def rescale(model: nn.Module, mean: float, std: float) -> None:
    """Make every output y of `model` std * y + mean, in its last layer, in place.

    Args:
        model: a sequence classifier with one output, PEFT's adapters around one, a linear probe.
        mean: added.
        std: multiplied with first.
    """
    _, last = last_linear(model.get_base_model() if hasattr(model, "peft_config") else model)
    last.weight.mul_(std)
    last.bias.mul_(std).add_(mean)
