"""Where the parts of a sequence classifier are, whatever its family."""

from collections.abc import Collection, Iterable

import torch
from numpy.random import Generator
from torch import nn
from transformers import PreTrainedModel

from agwm.errors import UserError

_RATES = ("dropout", "attention_dropout", "activation_dropout")


def blocks(model: PreTrainedModel) -> list[nn.Module]:
    """Transformer blocks from the bottom to the top; of an encoder-decoder, the encoder's first.

    ALBERT's are its groups of layers, each of which the text goes through more than once.
    """
    lists = [
        (name, module)
        for name, module in model.base_model.named_modules()
        if isinstance(module, nn.ModuleList)
    ]
    # A list inside a block is none of blocks.
    outer = [
        module
        for name, module in lists
        if not any(name.startswith(f"{other}.") for other, _ in lists)
    ]
    return [block for module in outer for block in module]


def last_linear(model: PreTrainedModel) -> tuple[str, nn.Linear]:
    """The head's last matrix, which gives the logits, and its name."""
    body = f"{model.base_model_prefix}."
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not name.startswith(body)
    ][-1]


def top(
    model: PreTrainedModel,
    layers: int | None,
    fresh: Collection[str] | None,
    key: str = "method.layers",
) -> list[nn.Module]:
    """The upper `layers` blocks (None = all) and, unless `fresh` is None, the checkpoint's pooler.

    `key` is what `layers` is called in an error.

    Raises:
        UserError: the model has fewer blocks, or goes through one of them more than once.
    """
    found = blocks(model)
    depth = getattr(model.config, "num_hidden_layers", len(found))
    if layers and len(found) < depth:
        raise UserError(
            f"{key}={layers}: {model.config.model_type} goes through {depth} layers with "
            f"the weights of {len(found)}, so that none is on top; {key}=0 works"
        )
    if layers is not None and layers > len(found):
        raise UserError(f"{key}={layers}: the model has {len(found)} blocks")
    on_top = None if fresh is None else pooler(model, fresh)
    lowest = 0 if layers is None else len(found) - layers
    return [*found[lowest:], *([] if on_top is None else [on_top])]


def pooler(model: PreTrainedModel, fresh: Collection[str]) -> nn.Module | None:
    """The pooler that came with the checkpoint; None where there is none.

    ModernBERT's is the dense layer of its masked-word predictions, outside the body.
    """
    found = getattr(model.base_model, "pooler", None) or getattr(model, "head", None)
    if found is None:
        return None
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return None if any(names[id(p)] in fresh for p in found.parameters()) else found


def set_dropout(module: nn.Module, rate: float, keep: Iterable[nn.Module] = ()) -> None:
    """Set every dropout rate below `module`, in place, but for what is in `keep`."""
    kept = {id(part) for other in keep for part in other.modules()}
    for part in module.modules():
        if id(part) in kept:
            continue
        if isinstance(part, nn.Dropout):
            part.p = rate
        for name in _RATES:
            if isinstance(getattr(part, name, None), float):
                setattr(part, name, rate)


def redraw_top(
    model: PreTrainedModel,
    layers: int,
    fresh: Collection[str] | None,
    generator: Generator,
    key: str = "method.layers",
) -> frozenset[str]:
    """`redraw` what `top` gives, with the model's own std; the names of its parameters."""
    std = getattr(model.config, "initializer_range", None)
    std = std or getattr(model.config, "init_std", 0.02)
    chosen = top(model, layers, fresh, key)
    for module in chosen:
        redraw(module, std, generator)
    drawn = {id(parameter) for module in chosen for parameter in module.parameters()}
    return frozenset(name for name, p in model.named_parameters() if id(p) in drawn)


@torch.no_grad()
def redraw(module: nn.Module, std: float, generator: Generator) -> None:
    """Draw `module` anew, in place: matrices from N(0, std^2), norms 1, everything else 0."""
    for part in module.modules():
        norm = "norm" in type(part).__name__.lower()
        for name, parameter in part.named_parameters(recurse=False):
            if parameter.dim() >= 2:
                values = generator.standard_normal(parameter.shape, dtype="float32")
                parameter.copy_(torch.from_numpy(values) * std)
            else:
                parameter.fill_(1.0 if norm and name == "weight" else 0.0)
