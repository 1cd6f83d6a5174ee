"""A Hugging Face model whose pretrained linear layers, or XLNet's attention, hold a mixture."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations

from agwm.errors import UserError
from agwm.numerics.mixing import Alpha, coefficients, mix
from agwm.numerics.optim import RunningMean

# XLNet's matrices of queries, keys, values, output and relative positions: d_model, heads, d_head.
_RAW_ATTENTION = ("q", "k", "v", "o", "r")


class Mixed(nn.Module):
    """The mixture W~ = mix(W, W0, alpha) of one weight; alpha is trainable until `fix`.

    Args:
        weight: the pretrained W0, N x M; copied.
        alpha: its attention parameters.
        form: "product" or "convex".
    """

    def __init__(self, weight: Tensor, alpha: Alpha, form: str) -> None:
        super().__init__()
        # The frozen W0 is what the checkpoint says: nothing to save again.
        self.register_buffer("pretrained", weight.detach().clone(), persistent=False)
        self.alpha = nn.ParameterList(factor.to(weight) for factor in alpha)
        self.form = form
        self.fixed = False

    def mix(self, weight: Tensor) -> Tensor:
        """W~ of W, N x M."""
        if self.fixed:
            return torch.addcmul(self.rest, self.own, weight)
        return mix(weight, self.pretrained, tuple(self.alpha), self.form)

    @torch.no_grad()
    def fix(self) -> None:
        """Freeze alpha: its coefficient of W and its product with W0 are computed once.

        W0 itself is dropped; no other alpha can be loaded afterwards.
        """
        if self.fixed:
            return
        own, other = coefficients(tuple(self.alpha), self.form)
        self.register_buffer("own", own.clone(), persistent=False)
        self.register_buffer("rest", other * self.pretrained, persistent=False)
        del self.pretrained
        self.alpha.requires_grad_(False)
        self.fixed = True

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *others: Any) -> None:
        for index, factor in enumerate(self.alpha if self.fixed else ()):
            given = state.get(f"{prefix}alpha.{index}", factor)
            if not torch.equal(given.to(factor), factor):
                raise UserError(
                    f"{prefix}alpha.{index}: is fixed; load_state_dict before fix_alpha"
                )
        super()._load_from_state_dict(state, prefix, *others)


class MixedLinear(Mixed):
    """`nn.Linear` with weight W~; the bias is W's own, unmixed.

    Keeps the names `weight` and `bias`, so that W sits in the state dict where it was.
    """

    def __init__(self, plain: nn.Linear, alpha: Alpha, form: str) -> None:
        super().__init__(plain.weight, alpha, form)
        self.weight = plain.weight
        self.bias = plain.bias

    def mixed_weight(self) -> Tensor:
        """W~, out x in."""
        return self.mix(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Linear map by W~; x (..., in) -> (..., out)."""
        return linear(x, self.mixed_weight(), self.bias)


class MixedHeads(Mixed):
    """Parametrization of a raw weight, d_model x heads x d_head, that is mixed as a matrix.

    The matrix is d_model x (heads * d_head): a row of alpha for each entry of the hidden state.
    """

    def __init__(self, weight: Tensor, alpha: Alpha, form: str) -> None:
        super().__init__(weight.flatten(1), alpha, form)

    def forward(self, weight: Tensor) -> Tensor:
        """W~ in the shape of W."""
        return self.mix(weight.flatten(1)).view_as(weight)


def pretrained_linears(model: nn.Module, fresh: Collection[str]) -> Iterator[tuple[str, nn.Linear]]:
    """Name and module of every `nn.Linear` whose weight came from the checkpoint.

    Args:
        model: sequence classifier.
        fresh: names of the parameters that the checkpoint lacked: a head has no W0 worth mixing.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and f"{name}.weight" not in fresh:
            yield name, module


def mix_pretrained(
    model: nn.Module,
    fresh: Collection[str],
    new_alpha: Callable[[tuple[int, int]], Alpha],
    form: str = "product",
) -> nn.Module:
    """Put a `MixedLinear` in the place of every pretrained linear layer of `model`, in place.

    Args:
        model: sequence classifier, loaded.
        fresh: names of the parameters that the checkpoint lacked.
        new_alpha: shape of a weight -> its attention parameters.
        form: "product" or "convex".
    """
    for name, plain in list(pretrained_linears(model, fresh)):
        mixed = MixedLinear(plain, new_alpha(tuple(plain.weight.shape)), form)
        model.set_submodule(name, mixed.train(plain.training))
    return model


def mix_attention(
    model: nn.Module,
    fresh: Collection[str],
    new_alpha: Callable[[tuple[int, int]], Alpha],
    form: str = "product",
) -> int:
    """Mix the attention weights that XLNet has as raw parameters (`MixedHeads`), in place.

    Args:
        model: sequence classifier, loaded.
        fresh: names of the parameters that the checkpoint lacked.
        new_alpha: shape of a weight, as a matrix -> its attention parameters.
        form: "product" or "convex".

    Returns:
        How many there are: 0 for a model whose attention is made of linear layers.
    """
    raw = [(name, module) for name, module in model.named_modules() if _is_raw_attention(module)]
    found = [
        (module, part)
        for name, module in raw
        for part in _RAW_ATTENTION
        if f"{name}.{part}" not in fresh
    ]
    for module, part in found:
        weight = getattr(module, part)
        mixed = MixedHeads(weight, new_alpha(tuple(weight.flatten(1).shape)), form)
        register_parametrization(module, part, mixed)
        module.parametrizations.train(module.training)
    return len(found)


def _is_raw_attention(module: nn.Module) -> bool:
    own = dict(module.named_parameters(recurse=False))
    return all(part in own and own[part].dim() == 3 for part in _RAW_ATTENTION)


def mixtures(model: nn.Module) -> Iterator[tuple[str, Mixed]]:
    """Name of every mixed weight's place in the plain model, and its mixture."""
    for name, module in model.named_modules():
        if isinstance(module, MixedHeads):
            owner, part = _parametrized(name)
            yield f"{owner}.{part}", module
        elif isinstance(module, Mixed):
            yield name, module


def _parametrized(name: str) -> tuple[str, str]:
    """Module and parameter of the parametrization `<module>.parametrizations.<parameter>.0`."""
    owner, _, place = name.rpartition(".parametrizations.")
    return owner, place.partition(".")[0]


def mixed_linears(model: nn.Module) -> Iterator[tuple[str, MixedLinear]]:
    """Name and module of every mixed linear layer."""
    for name, module in model.named_modules():
        if isinstance(module, MixedLinear):
            yield name, module


def alpha_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Attention parameters by their names in the model."""
    return {
        f"{name}.alpha.{index}": factor
        for name, module in model.named_modules()
        if isinstance(module, Mixed)
        for index, factor in enumerate(module.alpha)
    }


def fix_alpha(model: nn.Module) -> nn.Module:
    """Train W alone from here on, in place (`Mixed.fix`)."""
    for _, module in mixtures(model):
        module.fix()
    return model


@torch.no_grad()
def clamp_alpha(model: nn.Module) -> None:
    """Put every attention parameter back into [0, 1], in place."""
    for factor in alpha_parameters(model).values():
        factor.clamp_(0, 1)


def mean_state(models: Iterable[nn.Module], alpha_only: bool = False) -> dict[str, Tensor]:
    """Mean of what mixed models have learned; for `load_state_dict`.

    Args:
        models: from a generator, no more than one of them and the mean are held.
        alpha_only: only the attention parameters, to be loaded with `strict=False`.
    """
    mean = RunningMean()
    for model in models:
        mean.add(alpha_parameters(model) if alpha_only else model.state_dict())
        del model  # else it would be held while the next one is trained
    return mean.mean


def alpha_tensors(model: nn.Module) -> dict[str, Tensor]:
    """`<layer>.a1`, `<layer>.a2` (or `<layer>.alpha`, without factors) for `alpha.safetensors`.

    XLNet's attention has a `<layer>` for each matrix: `transformer.layer.0.rel_attn.q`.
    """
    return {
        f"{name}.{part}": factor.detach().clone()
        for name, module in mixtures(model)
        for part, factor in zip(
            ("a1", "a2") if len(module.alpha) == 2 else ("alpha",), module.alpha, strict=True
        )
    }


def mixture_state(alpha: Mapping[str, Tensor]) -> str | None:
    """What the mixture of a whole model has come to.

    Args:
        alpha: the attention parameters of all mixed weights (`alpha_tensors`).

    Returns:
        "W" or "W0" where every entry of every one is at the bound 1 or 0, so that the task weights
        or the pretrained ones are left alone; "mixed" otherwise; None if nothing is mixed.
    """
    if not alpha:
        return None
    for name, bound in (("W", 1), ("W0", 0)):
        if all((factor == bound).all() for factor in alpha.values()):
            return name
    return "mixed"


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold every mixture into a plain weight W~ (of an `nn.Linear`, where it is one), in place."""
    for name, module in list(mixed_linears(model)):
        rows, columns = module.weight.shape
        plain = nn.Linear(columns, rows, bias=module.bias is not None, device="meta")
        plain.weight = nn.Parameter(module.mixed_weight())
        if module.bias is not None:
            plain.bias = module.bias
        model.set_submodule(name, plain.train(module.training))
    for name, module in list(model.named_modules()):
        if isinstance(module, MixedHeads):
            owner, part = _parametrized(name)
            remove_parametrizations(model.get_submodule(owner), part)
    return model
