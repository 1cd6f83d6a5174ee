"""Products of the mixed second derivative with a vector (paper, appendix A).

One search step needs  d L_val / d alpha = grad_alpha L_val(W', alpha) - eta J v  with
v = grad_W L_val(W', alpha) and J = d^2 G / (d alpha d W), G the loss on the inner batch: J maps
vectors of the shape of W to vectors of the shape of alpha. Each function returns J v, or J u with
another u in the place of eta v, and leaves every tensor it was given as it was, unless it is told
that W may be lost.

The loss must be a function of (W, alpha) alone. Where it draws dropout masks, the caller replays
them (`agwm.numerics.rng`): with other masks in each evaluation, a difference is mostly noise.

In a group of processes each has the loss on its own share of the batch, and W, alpha and v are the
same in all: every function returns the product of the joined batch (`agwm.numerics.distributed`).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from agwm.numerics.distributed import average

Tensors = Sequence[Tensor]
Loss = Callable[[Tensors, Tensors], Tensor]  # (weights, alpha) -> scalar


def gradients(loss: Tensor, inputs: Tensors, **options: bool) -> list[Tensor]:
    """`torch.autograd.grad` with zeros for what the loss does not depend on.

    Averaged over the processes of a group (`average`). With `create_graph` they are this process's
    own, as they are no result yet: the products that are taken from them are averaged.
    """
    found = torch.autograd.grad(loss, inputs, allow_unused=True, **options)
    pairs = zip(found, inputs, strict=True)
    filled = [torch.zeros_like(x) if grad is None else grad for grad, x in pairs]
    return filled if options.get("create_graph") else average(filled)


def norm(tensors: Tensors) -> Tensor:
    """L2 norm over all tensors, a scalar."""
    return torch.nn.utils.get_total_norm(tensors)


def displaced(
    weights: Tensors, direction: Tensors, length: Tensor | float, in_place: bool = False
) -> list[Tensor]:
    """weights + length * direction; new tensors, or with `in_place` those of `weights`."""
    # As a number it goes into the addition: no product of the size of W is made on the way.
    length = float(length)
    pairs = [(w.detach(), d) for w, d in zip(weights, direction, strict=True)]
    return [torch.add(w, d, alpha=length, out=w if in_place else None) for w, d in pairs]


def alpha_gradient(loss: Loss, weights: Tensors, alpha: Tensors) -> list[Tensor]:
    """grad_alpha of `loss` at `weights`; nothing is differentiated in the weights."""
    alpha = [a.detach().requires_grad_() for a in alpha]
    return gradients(loss([w.detach() for w in weights], alpha), alpha)


def finite_difference(
    loss: Loss,
    weights: Tensors,
    alpha: Tensors,
    direction: Tensors,
    eps: float,
    in_place: bool = False,
) -> list[Tensor]:
    """[grad_alpha G(W + eps v) - grad_alpha G(W - eps v)] / (2 eps); error of order eps^2.

    Appendix A has eps = 0.01 / ||v||. Two forward and two backward passes; one displaced copy of
    W, or with `in_place` none: then `weights` are left displaced.
    """
    there = displaced(weights, direction, eps, in_place)
    plus = alpha_gradient(loss, there, alpha)
    minus = alpha_gradient(loss, displaced(there, direction, -2 * eps, in_place=True), alpha)
    return [(p - m) / (2 * eps) for p, m in zip(plus, minus, strict=True)]


def one_sided(
    loss: Loss,
    weights: Tensors,
    alpha: Tensors,
    direction: Tensors,
    eps: float,
    at_weights: Tensors | None = None,
    in_place: bool = False,
) -> list[Tensor]:
    """[grad_alpha G(W + eps v) - grad_alpha G(W)] / eps; error of order eps.

    One pass where `at_weights`, grad_alpha G(W), is at hand already; two otherwise. `in_place` as
    in `finite_difference`.
    """
    if at_weights is None:
        at_weights = alpha_gradient(loss, weights, alpha)
    plus = alpha_gradient(loss, displaced(weights, direction, eps, in_place), alpha)
    return [(p - c) / eps for p, c in zip(plus, at_weights, strict=True)]


def exact(loss: Loss, weights: Tensors, alpha: Tensors, direction: Tensors) -> list[Tensor]:
    """J v by double backward; the oracle of the others, at several times their memory."""
    return SecondDerivative(loss, weights, alpha).mixed(direction)


class SecondDerivative:
    """Second derivatives of `loss` at (weights, alpha), as products with vectors u of W's shape.

    One forward and one backward pass at the start, one backward pass a product. Attention runs in
    its plain form: the fused kernels have no second derivative. `backward_passes` counts.
    """

    def __init__(self, loss: Loss, weights: Tensors, alpha: Tensors) -> None:
        self.weights = [w.detach().requires_grad_() for w in weights]
        self.alpha = [a.detach().requires_grad_() for a in alpha]
        with sdpa_kernel(SDPBackend.MATH):
            value = loss(self.weights, self.alpha)
            self.gradient = gradients(value, self.weights, create_graph=True)
        self.backward_passes = 1

    def hessian(self, u: Tensors) -> list[Tensor]:
        """H u, H = d^2 G / d W^2."""
        return self._product(u, self.weights)

    def mixed(self, u: Tensors) -> list[Tensor]:
        """J u."""
        return self._product(u, self.alpha)

    def both(self, u: Tensors) -> tuple[list[Tensor], list[Tensor]]:
        """H u and J u in one backward pass."""
        found = self._product(u, [*self.weights, *self.alpha])
        return found[: len(self.weights)], found[len(self.weights) :]

    def _product(self, u: Tensors, inputs: Tensors) -> list[Tensor]:
        # Tensors that the loss does not reach carry no graph, and no second derivative.
        pairs = [(g, x) for g, x in zip(self.gradient, u, strict=True) if g.requires_grad]
        self.backward_passes += 1
        if not pairs:
            return [torch.zeros_like(x) for x in inputs]
        return gradients(sum((g * x).sum() for g, x in pairs), inputs, retain_graph=True)


def neumann(at: SecondDerivative, direction: Tensors, scale: float, terms: int) -> list[Tensor]:
    """J u, u = scale * sum over k < terms of (I - scale H)^k v, which tends to H^-1 v.

    It converges for 0 < scale < 2 / (largest eigenvalue of H). Appendix A of the paper names it.
    """
    term = total = [v.detach() for v in direction]
    for _ in range(terms - 1):
        term = displaced(term, at.hessian(term), -scale)
        total = [t + x for t, x in zip(total, term, strict=True)]
    return at.mixed([scale * t for t in total])


def conjugate_gradient(at: SecondDerivative, direction: Tensors, iterations: int) -> list[Tensor]:
    """J u, u an approximation of H^-1 v by that many iterations of conjugate gradients.

    It stops where the residual is 0 or H bends downwards along the search direction: there the
    linear system is no minimum of anything. In the first iteration that leaves u = 0.
    """
    residual = along = [v.detach() for v in direction]
    u = [torch.zeros_like(v) for v in direction]
    squared = _dot(residual, residual)
    for _ in range(iterations):
        bent = at.hessian(along)
        curvature = _dot(along, bent)
        if curvature <= 0:
            break
        length = squared / curvature
        u = displaced(u, along, length)
        residual = displaced(residual, bent, -length)
        before, squared = squared, _dot(residual, residual)
        along = displaced(residual, along, squared / before)
    return at.mixed(u)


def unrolled(
    inner: Loss, outer: Loss, weights: Tensors, alpha: Tensors, eta: float, steps: int
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Reverse mode through `steps` steps W <- W - eta grad_W G; F is the outer loss at their end.

    One step is the look-ahead of the paper's equation (5), with SGD. Every W on the way is held.

    Returns:
        F, grad_alpha F at fixed W, and what the steps' dependence on alpha adds to it.
    """
    alpha = [a.detach().requires_grad_() for a in alpha]
    path = [[w.detach().requires_grad_() for w in weights]]
    for _ in range(steps):
        slope = gradients(inner(path[-1], [a.detach() for a in alpha]), path[-1])
        path.append([w.requires_grad_() for w in displaced(path[-1], slope, -eta)])
    value = outer(path[-1], alpha)
    found = gradients(value, [*alpha, *path.pop()])
    direct, adjoint = found[: len(alpha)], found[len(alpha) :]
    implicit = [torch.zeros_like(d) for d in direct]
    for at in reversed(path):
        bent, mixed = SecondDerivative(inner, at, alpha).both(adjoint)
        implicit = displaced(implicit, mixed, -eta)
        adjoint = displaced(adjoint, bent, -eta)
    return value.detach(), direct, implicit


def _dot(one: Tensors, other: Tensors) -> Tensor:
    return sum((a * b).sum() for a, b in zip(one, other, strict=True))
