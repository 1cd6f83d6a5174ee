"""A search whose hypergradient goes beyond one step, against autograd, with dropout on."""

import re

import pytest
import torch
from search_harness import ALPHA_LR, ETA, OPTIM, build, fit, mixed_model, problem, settings
from torch.nn.attention import SDPBackend, sdpa_kernel

from agwm.errors import UserError
from agwm.training.search import BilevelSearchModule

BEYOND = ("neumann", "conjugate_gradient", "unrolled")


def chosen_for(hypergradient, **changes):
    given = {"hypergradient_steps": 2, "neumann_scale": None, **changes}
    return settings(hypergradient=hypergradient, **given)


def exposed(hypergradient, **changes):
    """Settings under which the step of alpha is its rate times the hypergradient."""
    return chosen_for(hypergradient, alpha_lr=ALPHA_LR, max_grad_norm=1e9, **changes)


def found_and_parts(loaded, chosen):
    """What alpha moved by, over its rate; the direct part; and -J u for a u of one's own."""
    pretrained, data = loaded
    done = fit(build(pretrained, chosen), data, steps=1)
    weights, alpha, inner, outer = problem(pretrained, data, chosen)
    found = [(a - b) / ALPHA_LR for a, b in zip(alpha, done.search.alpha.values(), strict=True)]
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.autograd.grad(inner(weights, alpha), weights, create_graph=True)
    ahead = [(w - ETA * g).detach().requires_grad_() for w, g in zip(weights, slope, strict=True)]
    grads = torch.autograd.grad(outer(ahead, alpha), [*alpha, *ahead])
    direct, v = grads[: len(alpha)], grads[len(alpha) :]

    def hessian(u):
        return torch.autograd.grad(slope, weights, u, retain_graph=True)

    def implicit(u):
        return [-x for x in torch.autograd.grad(slope, alpha, u, retain_graph=True)]

    moved = zip(done.search.weights.values(), ahead, strict=True)
    assert all(torch.allclose(w, a, rtol=1e-9, atol=1e-12) for w, a in moved)
    return found, direct, v, hessian, implicit


def dot(one, other):
    return sum((a * b).sum() for a, b in zip(one, other, strict=True))


def close(found, direct, implicit, tolerance=1e-8):
    size = max(d.abs().max() for d in direct)
    for f, d, i in zip(found, direct, implicit, strict=True):
        assert (f - d - i).abs().max() < tolerance * size
    # The implicit term is no trifle here: without it the comparison would fail.
    assert max(i.abs().max() for i in implicit) > 0.01 * size


@pytest.mark.parametrize(("scale", "a"), [(None, ETA), (0.2, 0.2)])
def test_neumann_moves_alpha_by_the_series(loaded, by_sgd, scale, a):
    chosen = exposed("neumann", hypergradient_steps=3, neumann_scale=scale)
    found, direct, v, hessian, implicit = found_and_parts(loaded, chosen)
    # a (3 - 3 a H + a^2 H^2) v
    bent = hessian(v)
    twice = hessian(bent)
    terms = zip(v, bent, twice, strict=True)
    close(found, direct, implicit([a * (3 * x - 3 * a * y + a**2 * z) for x, y, z in terms]))


def test_conjugate_gradient_moves_alpha_by_the_best_multiple_of_v(loaded, by_sgd):
    chosen = exposed("conjugate_gradient", hypergradient_steps=1)
    found, direct, v, hessian, implicit = found_and_parts(loaded, chosen)
    bent = hessian(v)
    length = dot(v, v) / dot(v, bent)
    assert length > 0
    close(found, direct, implicit([length * x for x in v]))
    # The second search direction points downwards here: more iterations change nothing.
    residual = [x - length * y for x, y in zip(v, bent, strict=True)]
    ratio = dot(residual, residual) / dot(v, v)
    along = [r + ratio * x for r, x in zip(residual, v, strict=True)]
    assert dot(along, hessian(along)) < 0
    again, *_ = found_and_parts(loaded, exposed("conjugate_gradient", hypergradient_steps=5))
    assert all(torch.equal(f, a) for f, a in zip(found, again, strict=True))


@pytest.mark.parametrize("steps", [1, 3])
def test_unrolled_moves_alpha_by_the_derivative_through_all_steps(loaded, by_sgd, steps):
    pretrained, data = loaded
    chosen = exposed("unrolled", hypergradient_steps=steps)
    done = fit(build(pretrained, chosen), data, steps=1)
    weights, alpha, inner, outer = problem(pretrained, data, chosen)
    at = weights
    with sdpa_kernel(SDPBackend.MATH):
        for _ in range(steps):
            slope = torch.autograd.grad(inner(at, alpha), at, create_graph=True)
            at = [w - ETA * g for w, g in zip(at, slope, strict=True)]
        expected = torch.autograd.grad(outer(at, alpha), alpha)
    direct = torch.autograd.grad(outer([w.detach() for w in at], alpha), alpha)
    found = [(a - b) / ALPHA_LR for a, b in zip(alpha, done.search.alpha.values(), strict=True)]
    close(found, direct, [e - d for e, d in zip(expected, direct, strict=True)])
    # W itself takes one step, however far was looked ahead.
    weights = problem(pretrained, data, chosen)[0]
    slope = torch.autograd.grad(inner(weights, [a.detach() for a in alpha]), weights)
    for w, g, after in zip(weights, slope, done.search.weights.values(), strict=True):
        torch.testing.assert_close(after.detach(), w.detach() - ETA * g, rtol=1e-9, atol=1e-12)


def passes_made(loaded, monkeypatch, chosen):
    """Module after two iterations; forward passes and calls of autograd on the way."""
    pretrained, data = loaded
    made = {"forward": 0, "backward": 0}
    module = BilevelSearchModule(mixed_model(pretrained), chosen, OPTIM, 5, 0, 0)
    module.model.register_forward_pre_hook(lambda *_: made.update(forward=made["forward"] + 1))
    grad = torch.autograd.grad

    def counted(*given, **options):
        made["backward"] += 1
        return grad(*given, **options)

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", counted)
        return fit(module, data, steps=2), made["forward"], made["backward"]


@pytest.mark.parametrize(
    ("hypergradient", "steps", "forward", "backward"),
    [
        ("neumann", 1, 3, 4), ("neumann", 3, 3, 6), ("conjugate_gradient", 1, 3, 5),
        ("unrolled", 1, 4, 5), ("unrolled", 3, 8, 11),
    ],
)  # fmt: skip
def test_passes_are_those_of_the_plan(loaded, monkeypatch, hypergradient, steps, forward, backward):
    for every, alpha_steps in ((1, 2), (2, 1)):
        chosen = chosen_for(
            hypergradient, hypergradient_steps=steps, alpha_every=every, neumann_scale=0.01
        )
        module, *made = passes_made(loaded, monkeypatch, chosen)
        assert made == [2 + alpha_steps * (count - 1) for count in (forward, backward)]
        assert made[1] == module.backward_passes == 2 * chosen.passes


def test_iterations_that_conjugate_gradient_does_not_make_are_not_counted(loaded, monkeypatch):
    chosen = chosen_for("conjugate_gradient", hypergradient_steps=5)
    module, _, backward = passes_made(loaded, monkeypatch, chosen)
    assert backward < 2 * chosen.passes
    assert module.backward_passes == backward


@pytest.mark.parametrize("hypergradient", BEYOND)
@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("order", "rollback", "w_alpha"),
        ("order", "released", "w_alpha"),
        ("fd_center", "w_prime", "w"),
        ("precondition", "tensor_rms", "none"),
        ("precondition", "adam", "none"),
    ],
)
def test_other_orders_than_the_derivative_of_a_step_are_refused(hypergradient, key, value, allowed):
    message = f"method.{key}={value}: must be {allowed} with hypergradient={hypergradient}"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        chosen_for(hypergradient=hypergradient, **{key: value})
    chosen_for(hypergradient=hypergradient, **{key: allowed})
    chosen_for(hypergradient="exact", **{key: value})


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("hypergradient_steps", [0, -1], "must be >= 1"),
        ("neumann_scale", [0.0, -0.1, float("nan"), float("inf")], "must be a number > 0 or null"),
    ],
)
def test_no_steps_and_no_scale_are_refused(key, values, allowed):
    for value in values:
        with pytest.raises(UserError, match=f"^method.{key}={value}: {allowed}$"):
            chosen_for(hypergradient="neumann", **{key: value})
