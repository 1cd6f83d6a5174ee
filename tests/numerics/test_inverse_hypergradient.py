"""J u with u nearer to H^-1 v, on quadratics solved in closed form and against plain autograd."""

import pytest
import torch

from agwm.numerics import hypergradient as hg

C, B, W, ALPHA = 1.5, 0.4, 0.7, 0.3
V = W - B


def scalar(value):
    return [torch.tensor([value], dtype=torch.float64)]


def bowl(h):
    """G = (h / 2) (W - c alpha)^2: its H is h, its J is -h c."""
    return lambda weights, alpha: h / 2 * ((weights[0] - C * alpha[0]) ** 2).sum()


def distance(weights, alpha):
    return ((weights[0] - B) ** 2).sum() / 2


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def quadratic(eigenvalues):
    """G = W'HW / 2 + W'J'alpha over two tensors of W and two of alpha; H, J, W, alpha, v."""
    n, m = len(eigenvalues), 4
    rotation, _ = torch.linalg.qr(draw(n, n))
    hessian = rotation @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ rotation.T
    mixed = draw(m, n, seed=1)

    def loss(weights, alpha):
        w, a = torch.cat([x.flatten() for x in weights]), torch.cat([x.flatten() for x in alpha])
        return w @ hessian @ w / 2 + a @ mixed @ w

    def shaped(x):
        return [x[:2].reshape(2, 1), x[2:]]

    v = draw(n, seed=2)
    return loss, hessian, mixed, shaped(draw(n, seed=3)), shaped(draw(m, seed=4)), v, shaped(v)


def flat(tensors):
    return torch.cat([t.flatten() for t in tensors])


def network():
    """Inner and outer loss of a small net, not quadratic in W, with tensors that one leaves out."""
    x, target, other = draw(7, 4), draw(7, 2, seed=1), draw(7, 2, seed=2)
    weights = [draw(3, 4, seed=3), draw(2, 3, seed=4), draw(5, seed=5)]
    alpha = [draw(3, 1, seed=6), draw(1, 3, seed=7), draw(2, seed=8)]

    def output(weights, alpha):
        return torch.tanh(x @ (weights[0] * alpha[0].sigmoid()).T) @ (weights[1] * alpha[1]).T

    def inner(weights, alpha):
        return ((output(weights, alpha) - target) ** 2).mean()

    def outer(weights, alpha):
        return ((output(weights, alpha) - other) ** 2).mean() + (alpha[0] ** 3).mean()

    return inner, outer, weights, alpha


def through(inner, outer, weights, alpha, eta, steps):
    """grad_alpha of the outer loss, all through `steps` differentiable SGD steps."""
    alpha = [a.detach().requires_grad_() for a in alpha]
    at = [w.detach().requires_grad_() for w in weights]
    for _ in range(steps):
        slope = torch.autograd.grad(
            inner(at, alpha), at, create_graph=True, allow_unused=True, materialize_grads=True
        )
        at = [w - eta * g for w, g in zip(at, slope, strict=True)]
    value = outer(at, alpha)
    return value, torch.autograd.grad(value, alpha, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize(("terms", "factor"), [(1, 0.5), (2, 0.75), (4, 0.9375)])
def test_neumann_comes_as_near_as_the_geometric_series(terms, factor):
    product = hg.neumann(
        hg.SecondDerivative(bowl(2.0), scalar(W), scalar(ALPHA)), scalar(V), scale=0.25, terms=terms
    )
    assert -product[0].item() == pytest.approx(factor * C * V, abs=1e-15)


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_conjugate_gradient_solves_the_scalar_problem_at_once_and_stays(iterations):
    product = hg.conjugate_gradient(
        hg.SecondDerivative(bowl(2.0), scalar(W), scalar(ALPHA)), scalar(V), iterations
    )
    assert -product[0].item() == pytest.approx(C * V, abs=1e-15)


def test_one_step_falls_short_by_the_learning_rate_times_the_curvature():
    eta = 0.1
    ahead = W - eta * 2 * (W - C * ALPHA)
    value, direct, implicit = hg.unrolled(
        bowl(2.0), distance, scalar(W), scalar(ALPHA), eta, steps=1
    )
    assert value.item() == pytest.approx((ahead - B) ** 2 / 2, abs=1e-15)
    assert direct[0].item() == 0
    assert implicit[0].item() == pytest.approx(eta * 2 * C * (ahead - B), abs=1e-15)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_unrolled_equals_neumann_where_the_curvature_is_constant(steps):
    bottom = C * ALPHA
    end = bottom + (1 - 0.25 * 2) ** steps * (W - bottom)
    _, _, implicit = hg.unrolled(bowl(2.0), distance, scalar(W), scalar(ALPHA), 0.25, steps)
    neumann = hg.neumann(
        hg.SecondDerivative(bowl(2.0), scalar(W), scalar(ALPHA)), scalar(end - B), 0.25, steps
    )
    assert implicit[0].item() == pytest.approx(-neumann[0].item(), abs=1e-15)
    assert implicit[0].item() == pytest.approx((1 - 0.5**steps) * C * (end - B), abs=1e-15)


def test_conjugate_gradient_is_the_exact_solution_after_as_many_iterations_as_dimensions():
    loss, hessian, mixed, weights, alpha, v, direction = quadratic([0.5, 1, 2, 3, 5])
    exact = mixed @ torch.linalg.solve(hessian, v)
    errors = [
        (
            flat(hg.conjugate_gradient(hg.SecondDerivative(loss, weights, alpha), direction, n))
            - exact
        ).norm()
        for n in range(1, 6)
    ]
    assert errors[4] < 1e-11 and errors[3] > 1e-3
    # The first two iterates, from the subspaces spanned by v and by v, H v.
    for n in (1, 2):
        span = torch.stack([torch.linalg.matrix_power(hessian, k) @ v for k in range(n)], 1)
        best = span @ torch.linalg.solve(span.T @ hessian @ span, span.T @ v)
        found = flat(hg.conjugate_gradient(hg.SecondDerivative(loss, weights, alpha), direction, n))
        torch.testing.assert_close(found, mixed @ best, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("terms", [1, 2, 3, 9])
def test_neumann_is_the_sum_of_matrix_powers(terms):
    loss, hessian, mixed, weights, alpha, v, direction = quadratic([0.5, 1, 2, 3, 5])
    scale = 0.3
    step = torch.eye(5, dtype=torch.float64) - scale * hessian
    powers = sum(torch.linalg.matrix_power(step, k) for k in range(terms))
    found = flat(hg.neumann(hg.SecondDerivative(loss, weights, alpha), direction, scale, terms))
    torch.testing.assert_close(found, mixed @ (scale * powers @ v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("iterations", [1, 3])
def test_conjugate_gradient_of_a_hill_is_the_first_order(iterations):
    found = hg.conjugate_gradient(
        hg.SecondDerivative(bowl(-2.0), scalar(W), scalar(ALPHA)), scalar(V), iterations
    )
    assert found[0].tolist() == [0]


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_conjugate_gradient_stops_on_a_saddle_with_what_it_has(iterations):
    """H = diag(1, -1), v = (2, 1): u = 5/3 v, and then the search direction points downwards."""

    def saddle(weights, alpha):
        one, other = weights
        return ((one**2 - other**2) / 2 + alpha[0] * (one + 3 * other)).sum()

    weights, direction = scalar(0.2) + scalar(-0.5), scalar(2.0) + scalar(1.0)
    found = hg.conjugate_gradient(
        hg.SecondDerivative(saddle, weights, scalar(ALPHA)), direction, iterations
    )
    assert found[0].item() == pytest.approx(5 / 3 * (2 + 3 * 1), rel=1e-14)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_unrolled_is_autograd_through_all_steps(steps):
    inner, outer, weights, alpha = network()
    value, direct, implicit = hg.unrolled(inner, outer, weights, alpha, 0.3, steps)
    expected, slopes = through(inner, outer, weights, alpha, 0.3, steps)
    assert value.item() == pytest.approx(expected.item(), abs=1e-13)
    for d, i, e in zip(direct, implicit, slopes, strict=True):
        assert (d + i - e).abs().max() < 1e-10
    # Without the implicit part the comparison would fail.
    assert max(i.abs().max() for i in implicit) > 1e-3


def test_one_unrolled_step_is_the_formula_of_the_paper():
    inner, outer, weights, alpha = network()
    eta = 0.3
    at = [w.clone().requires_grad_() for w in weights[:2]]
    slope = torch.autograd.grad(inner([*at, weights[2]], alpha), at)
    ahead = [(w - eta * g).detach().requires_grad_() for w, g in zip(at, slope, strict=True)]
    own = [a.clone().requires_grad_() for a in alpha[:2]]
    found = torch.autograd.grad(outer([*ahead, weights[2]], [*own, alpha[2]]), [*own, *ahead])
    product = hg.exact(inner, weights, alpha, [*found[2:], torch.zeros_like(weights[2])])
    _, direct, implicit = hg.unrolled(inner, outer, weights, alpha, eta, steps=1)
    for d, i, f, p in zip(direct[:2], implicit[:2], found[:2], product[:2], strict=True):
        torch.testing.assert_close(d, f, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(i, -eta * p, rtol=1e-12, atol=1e-14)


METHODS = {
    "neumann": lambda inner, outer, w, a, v: hg.neumann(
        hg.SecondDerivative(inner, w, a), v, 0.1, 4
    ),
    "conjugate_gradient": lambda inner, outer, w, a, v: hg.conjugate_gradient(
        hg.SecondDerivative(inner, w, a), v, 3
    ),
    "unrolled": lambda inner, outer, w, a, v: hg.unrolled(inner, outer, w, a, 0.1, 3)[2],
}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_given_stays_as_it_was_bit_for_bit(method):
    inner, outer, weights, alpha = network()
    weights[0].requires_grad_()
    v = [draw(*w.shape, seed=9) for w in weights]
    given = [*weights, *alpha, *v]
    before, wanted = [t.detach().clone() for t in given], [t.requires_grad for t in given]
    METHODS[method](inner, outer, weights, alpha, v)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))
    assert [t.requires_grad for t in given] == wanted
    assert all(t.grad is None for t in given)


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_that_the_loss_does_not_reach_gets_zeros(method):
    inner, outer, weights, alpha = network()

    def convex(weights, alpha):
        return inner(weights, alpha) + 5 * sum((w**2).sum() for w in weights[:2])

    v = [draw(*w.shape, seed=9) for w in weights]
    found = METHODS[method](convex, outer, weights, alpha, v)
    assert [f.shape for f in found] == [a.shape for a in alpha]
    assert found[2].tolist() == [0, 0]
    assert min(f.abs().max() for f in found[:2]) > 0


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_linear_in_w_alone_has_no_mixed_derivative(method):
    _, _, weights, alpha = network()

    def inner(weights, alpha):
        return weights[0].sum() + (alpha[0] ** 2).sum()

    v = [draw(*w.shape, seed=9) for w in weights]
    assert not any(f.any() for f in METHODS[method](inner, inner, weights, alpha, v))
