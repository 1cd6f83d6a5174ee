"""A Hugging Face model whose pretrained linear layers hold a weight mixture."""

from collections.abc import Callable, Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from agwm.numerics.mixing import Alpha, coefficients, mix


class MixedLinear(nn.Module):
    """`nn.Linear` with weight W~ = mix(W, W0, alpha); the bias is W's own, unmixed.

    Keeps the names `weight` and `bias`, so that W sits in the state dict where it was. Alpha is
    trainable until `fix`.
    """

    def __init__(self, plain: nn.Linear, alpha: Alpha, form: str) -> None:
        super().__init__()
        self.weight = plain.weight
        self.bias = plain.bias
        # The frozen W0 is what the checkpoint says: nothing to save again.
        self.register_buffer("pretrained", plain.weight.detach().clone(), persistent=False)
        self.alpha = nn.ParameterList(factor.to(plain.weight.device) for factor in alpha)
        self.form = form
        self.fixed = False

    def mixed_weight(self) -> Tensor:
        """W~, out x in."""
        if self.fixed:
            return torch.addcmul(self.rest, self.own, self.weight)
        return mix(self.weight, self.pretrained, tuple(self.alpha), self.form)

    @torch.no_grad()
    def fix(self) -> None:
        """Freeze alpha: its coefficient of W and its product with W0 are computed once.

        W0 itself is dropped; nothing may be loaded into alpha afterwards.
        """
        if self.fixed:
            return
        own, other = coefficients(tuple(self.alpha), self.form)
        self.register_buffer("own", own.clone(), persistent=False)
        self.register_buffer("rest", other * self.pretrained, persistent=False)
        del self.pretrained
        self.alpha.requires_grad_(False)
        self.fixed = True

    def forward(self, x: Tensor) -> Tensor:
        """Linear map by W~; x (..., in) -> (..., out)."""
        return linear(x, self.mixed_weight(), self.bias)


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


def mixed_linears(model: nn.Module) -> Iterator[tuple[str, MixedLinear]]:
    """Name and module of every mixed layer."""
    for name, module in model.named_modules():
        if isinstance(module, MixedLinear):
            yield name, module


def alpha_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Attention parameters by their names in the model."""
    return {
        f"{name}.alpha.{index}": factor
        for name, module in mixed_linears(model)
        for index, factor in enumerate(module.alpha)
    }


def fix_alpha(model: nn.Module) -> nn.Module:
    """Train W alone from here on, in place (`MixedLinear.fix`)."""
    for _, module in mixed_linears(model):
        module.fix()
    return model


@torch.no_grad()
def clamp_alpha(model: nn.Module) -> None:
    """Put every attention parameter back into [0, 1], in place."""
    for factor in alpha_parameters(model).values():
        factor.clamp_(0, 1)


def alpha_tensors(model: nn.Module) -> dict[str, Tensor]:
    """`<layer>.a1`, `<layer>.a2` (or `<layer>.alpha` at full rank) for `alpha.safetensors`."""
    return {
        f"{name}.{part}": factor.detach().clone()
        for name, module in mixed_linears(model)
        for part, factor in zip(
            ("a1", "a2") if len(module.alpha) == 2 else ("alpha",), module.alpha, strict=True
        )
    }


@torch.no_grad()
def merge(model: nn.Module) -> nn.Module:
    """Fold every mixture into a plain `nn.Linear` of weight W~, in place."""
    for name, module in list(mixed_linears(model)):
        rows, columns = module.weight.shape
        plain = nn.Linear(columns, rows, bias=module.bias is not None, device="meta")
        plain.weight = nn.Parameter(module.mixed_weight())
        if module.bias is not None:
            plain.bias = module.bias
        model.set_submodule(name, plain.train(module.training))
    return model
