"""Products of the mixed second derivative with a vector (paper, appendix A).

One search step needs  d L_val / d alpha = grad_alpha L_val(W', alpha) - eta J v  with
v = grad_W L_val(W', alpha) and J = d^2 G / (d alpha d W), G the loss on the inner batch: J maps
vectors of the shape of W to vectors of the shape of alpha. Each function returns J v and leaves
every tensor it was given as it was: W is displaced in a copy, never in place.

The loss must be a function of (W, alpha) alone. Where it draws dropout masks, the caller replays
them (`agwm.numerics.rng`): with other masks in each evaluation, a difference is mostly noise.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Tensors = Sequence[Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]  # (weights, alpha) -> scalar


def gradients(loss: Tensor, inputs: Tensors, create_graph: bool = False) -> list[Tensor]:
    """`torch.autograd.grad` with zeros for what the loss does not depend on."""
    found = torch.autograd.grad(loss, inputs, create_graph=create_graph, allow_unused=True)
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(x) if grad is None else grad for grad, x in pairs]


def norm(tensors: Tensors) -> Tensor:
    """L2 norm over all tensors, a scalar."""
    return torch.nn.utils.get_total_norm(tensors)


def displaced(weights: Tensors, direction: Tensors, length: Tensor | float) -> list[Tensor]:
    """weights + length * direction, new tensors."""
    pairs = zip(weights, direction, strict=True)
    return [torch.add(w.detach(), d * length) for w, d in pairs]


def step_size(direction: Tensors, radius: float) -> Tensor:
    """epsilon = radius / ||v||; appendix A has radius 0.01."""
    return radius / (norm(direction) + 1e-15)


def alpha_gradient(loss: Loss, weights: Tensors, alpha: Tensors) -> list[Tensor]:
    """grad_alpha of `loss` at `weights`; nothing is differentiated in the weights."""
    alpha = [a.detach().requires_grad_() for a in alpha]
    return gradients(loss([w.detach() for w in weights], alpha), alpha)


def finite_difference(
    loss: Loss, weights: Tensors, alpha: Tensors, direction: Tensors, radius: float
) -> list[Tensor]:
    """[grad_alpha G(W + eps v) - grad_alpha G(W - eps v)] / (2 eps); error of order eps^2.

    Two forward and two backward passes; one displaced copy of W at a time.
    """
    eps = step_size(direction, radius)
    plus = alpha_gradient(loss, displaced(weights, direction, eps), alpha)
    minus = alpha_gradient(loss, displaced(weights, direction, -eps), alpha)
    return [(p - m) / (2 * eps) for p, m in zip(plus, minus, strict=True)]


def one_sided(
    loss: Loss,
    weights: Tensors,
    alpha: Tensors,
    direction: Tensors,
    radius: float,
    at_weights: Tensors | None = None,
) -> list[Tensor]:
    """[grad_alpha G(W + eps v) - grad_alpha G(W)] / eps; error of order eps.

    One pass where `at_weights`, grad_alpha G(W), is at hand already; two otherwise.
    """
    eps = step_size(direction, radius)
    if at_weights is None:
        at_weights = alpha_gradient(loss, weights, alpha)
    plus = alpha_gradient(loss, displaced(weights, direction, eps), alpha)
    return [(p - c) / eps for p, c in zip(plus, at_weights, strict=True)]


def exact(loss: Loss, weights: Tensors, alpha: Tensors, direction: Tensors) -> list[Tensor]:
    """J v by double backward; the oracle of the others, at several times their memory.

    Attention runs in its plain form: the fused kernels have no second derivative.
    """
    weights = [w.detach().requires_grad_() for w in weights]
    alpha = [a.detach().requires_grad_() for a in alpha]
    with sdpa_kernel(SDPBackend.MATH):
        first = gradients(loss(weights, alpha), weights, create_graph=True)
        # Tensors that the loss does not reach carry no graph, and no mixed derivative.
        pairs = [(g, v) for g, v in zip(first, direction, strict=True) if g.requires_grad]
        along = sum((g * v).sum() for g, v in pairs)
        return gradients(along, alpha)
