"""The search step against autograd through the look-ahead, in float64 and with dropout on."""

import pytest
import torch
from search_harness import ALPHA_LR, ETA, build, fit, problem, settings
from torch.nn.attention import SDPBackend, sdpa_kernel

from agwm.numerics.hypergradient import norm


@pytest.mark.parametrize("order", ["w_alpha", "rollback"])
@pytest.mark.parametrize(
    ("hypergradient", "tolerance"), [("exact", 1e-9), ("finite_difference", 1e-5)]
)
def test_one_iteration_is_the_derivative_through_the_step(
    loaded,
    by_sgd,
    order,
    hypergradient,
    tolerance,
):
    pretrained, data = loaded
    chosen = settings(
        hypergradient=hypergradient, order=order, alpha_lr=ALPHA_LR, max_grad_norm=1e9,
        fd_radius=1e-3,
    )  # fmt: skip
    done = fit(build(pretrained, chosen), data, steps=1)
    weights, alpha, inner, outer = problem(pretrained, data, chosen)
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.autograd.grad(inner(weights, alpha), weights, create_graph=True)
        ahead = [w - ETA * g for w, g in zip(weights, slope, strict=True)]
        expected = torch.autograd.grad(outer(ahead, alpha), alpha)
        direct = torch.autograd.grad(outer([w.detach() for w in ahead], alpha), alpha)
    found = [(a - b) / ALPHA_LR for a, b in zip(alpha, done.search.alpha.values(), strict=True)]
    size = max(e.abs().max() for e in expected)
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max() < tolerance * size
    # The implicit term is no trifle here: without it the comparison would fail.
    assert max((d - e).abs().max() for d, e in zip(direct, expected, strict=True)) > 0.01 * size

    final = ahead
    if order == "rollback":
        stepped = [b.detach() for b in list(done.search.alpha.values())]
        again = torch.autograd.grad(inner(weights, stepped), weights)
        final = [w - ETA * g for w, g in zip(weights, again, strict=True)]
    for w, f in zip(done.search.weights.values(), final, strict=True):
        torch.testing.assert_close(w.detach(), f.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ["w_alpha", "rollback"])
@pytest.mark.parametrize("center", ["w", "w_prime"])
@pytest.mark.parametrize("scale", ["eta", "one"])
def test_the_mixed_derivative_is_taken_where_and_scaled_as_the_switches_say(
    loaded, by_sgd, order, center, scale
):
    pretrained, data = loaded
    chosen = settings(
        hypergradient="exact", fd_center=center, fd_scale=scale, alpha_lr=ALPHA_LR,
        max_grad_norm=1e9, order=order,
    )  # fmt: skip
    done = fit(build(pretrained, chosen), data, steps=1)
    weights, alpha, inner, outer = problem(pretrained, data, chosen)
    ahead = [
        (w - ETA * g).detach().requires_grad_()
        for w, g in zip(weights, torch.autograd.grad(inner(weights, alpha), weights), strict=True)
    ]
    found = torch.autograd.grad(outer(ahead, alpha), [*alpha, *ahead])
    direct, v = found[: len(alpha)], found[len(alpha) :]
    at = weights if center == "w" else ahead
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.autograd.grad(inner(at, alpha), at, create_graph=True)
        product = torch.autograd.grad(slope, alpha, v)
    factor = ETA if scale == "eta" else 1.0
    size = max(d.abs().max() for d in direct)
    steps = zip(alpha, list(done.search.alpha.values()), direct, product, strict=True)
    for before, after, d, p in steps:
        assert ((before - after) / ALPHA_LR - (d - factor * p)).abs().max() < 1e-8 * size


def test_released_leaves_w_against_the_outer_gradient(loaded, by_sgd):
    pretrained, data = loaded
    chosen = settings("released", precondition="none", shared_masks=True, alpha_lr=0.0)
    done = fit(build(pretrained, chosen, 0.0), data, steps=1)
    weights, alpha, _, outer = problem(pretrained, data, chosen)
    v = torch.autograd.grad(outer(weights, alpha), weights)
    moved = [
        b.detach() - a.detach() for a, b in zip(weights, done.search.weights.values(), strict=True)
    ]
    inner = sum((m * d).sum() for m, d in zip(moved, v, strict=True))
    assert (inner / (norm(moved) * norm(v))).item() == pytest.approx(-1, abs=1e-9)
    assert norm(moved).item() == pytest.approx(chosen.fd_radius, rel=1e-9)
