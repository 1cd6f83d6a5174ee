"""The scalar problem of T5: G = (W~ - 1)^2 / 2 and L_val = (W~ - 1/2)^2 / 2 at w = .3, w0 = -.2."""

import pytest
import torch
from torch import nn

from agwm.numerics import hypergradient as hg
from agwm.numerics.mixing import mix
from agwm.numerics.rng import seeded

W, W0, ETA = 0.3, -0.2, 0.1


def scalar(*values):
    return [torch.tensor([[value]], dtype=torch.float64) for value in values]


def problem(form):
    (pretrained,) = scalar(W0)

    def inner(weights, alpha):
        return (mix(weights[0], pretrained, tuple(alpha), form).sum() - 1) ** 2 / 2

    def outer(weights, alpha):
        return (mix(weights[0], pretrained, tuple(alpha), form).sum() - 0.5) ** 2 / 2

    return inner, outer


def step(inner, outer, alpha):
    """W, W' after one SGD step, and the two gradients of the outer loss at W'."""
    weights = [w.requires_grad_() for w in scalar(W)]
    (grad,) = hg.gradients(inner(weights, alpha), weights)
    ahead = [(weights[0] - ETA * grad).detach().requires_grad_()]
    alpha = [a.detach().requires_grad_() for a in alpha]
    found = hg.gradients(outer(ahead, alpha), [*alpha, *ahead])
    return weights, grad, ahead, found[: len(alpha)], found[len(alpha) :]


def full_rank(value):
    return scalar(value)


def test_convex_scalar_to_all_printed_digits():
    inner, outer = problem("convex")
    alpha = full_rank(0.8)
    weights, grad, ahead, direct, v = step(inner, outer, alpha)
    assert grad.item() == pytest.approx(-0.64, abs=1e-15)
    assert ahead[0].item() == pytest.approx(0.364, abs=1e-15)
    assert direct[0].item() == pytest.approx(-0.1403232, abs=1e-15)
    assert v[0].item() == pytest.approx(-0.19904, abs=1e-15)
    unit = [torch.ones_like(v[0])]
    assert hg.exact(inner, weights, alpha, unit)[0].item() == pytest.approx(-0.4, abs=1e-15)

    def total(center, scale, product):
        return (direct[0] - scale * product(inner, center, alpha, v)[0]).item()

    def central(loss, center, alpha, v):
        return hg.finite_difference(loss, center, alpha, v, 0.01 / hg.norm(v).item())

    for product in (hg.exact, central):
        assert total(weights, ETA, product) == pytest.approx(-0.1482848, abs=1e-12)
        assert total(ahead, ETA, product) == pytest.approx(-0.14624663, abs=1e-8)
        assert total(ahead, 1.0, product) == pytest.approx(-0.19955750, abs=1e-8)


def test_product_scalar_to_all_printed_digits():
    inner, outer = problem("product")
    alpha = scalar(0.9, 0.8)
    weights, grad, ahead, direct, v = step(inner, outer, alpha)
    assert grad.item() == pytest.approx(-0.56736, abs=1e-14)
    assert ahead[0].item() == pytest.approx(0.356736, abs=1e-14)
    assert [d.item() for d in direct] == pytest.approx(
        [-0.080419867951, -0.084293599445], abs=1e-12
    )
    for product in (
        hg.exact(inner, weights, alpha, v),
        hg.finite_difference(inner, weights, alpha, v, 0.01 / hg.norm(v).item()),
    ):
        total = [(d - ETA * p).item() for d, p in zip(direct, product, strict=True)]
        assert total == pytest.approx([-0.088050280661, -0.093198120247], abs=1e-12)


@pytest.mark.parametrize("form", ["product", "convex"])
def test_exact_equals_autograd_through_the_whole_step(form):
    inner, outer = problem(form)
    alpha = scalar(0.9, 0.8)
    weights, _, _, direct, v = step(inner, outer, alpha)
    product = hg.exact(inner, weights, alpha, v)
    alpha = [a.requires_grad_() for a in alpha]
    (grad,) = torch.autograd.grad(inner(weights, alpha), weights, create_graph=True)
    through = torch.autograd.grad(outer([weights[0] - ETA * grad], alpha), alpha)
    for t, d, p in zip(through, direct, product, strict=True):
        assert t.item() == pytest.approx((d - ETA * p).item(), abs=1e-15)


def network(dropout):
    """Loss of a small net in (W, alpha), with or without dropout, and a direction."""
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    x, target = draw(8, 6), draw(8, 3)
    pretrained = [draw(5, 6), draw(3, 5)]
    weights = [w + 0.1 * draw(*w.shape) for w in pretrained]
    alpha = [torch.sigmoid(draw(*shape)) for shape in [(5, 1), (1, 6), (3, 1), (1, 5)]]
    drop = nn.Dropout(dropout)

    def loss(weights, alpha):
        first = mix(weights[0], pretrained[0], (alpha[0], alpha[1]))
        second = mix(weights[1], pretrained[1], (alpha[2], alpha[3]))
        return ((drop(torch.tanh(x @ first.T)) @ second.T - target) ** 2).mean()

    def masked(weights, alpha):
        with seeded(7):
            return loss(weights, alpha)

    return loss, masked, weights, alpha, [draw(*w.shape) for w in weights]


def relative_error(found, expected):
    pairs = list(zip(found, expected, strict=True))
    return (
        sum(((f - e) ** 2).sum() for f, e in pairs) / sum((e**2).sum() for _, e in pairs)
    ).sqrt()


def test_central_difference_is_of_second_order_and_one_sided_of_first():
    _, loss, weights, alpha, v = network(dropout=0.3)
    expected = hg.exact(loss, weights, alpha, v)
    size = hg.norm(v).item()
    central, one = (
        [
            relative_error(difference(loss, weights, alpha, v, r / size), expected)
            for r in (1e-1, 1e-2)
        ]
        for difference in (hg.finite_difference, hg.one_sided)
    )
    assert central[0] / central[1] == pytest.approx(100, rel=0.1)
    assert one[0] / one[1] == pytest.approx(10, rel=0.1)


def test_a_difference_across_different_masks_is_noise():
    loss, masked, weights, alpha, v = network(dropout=0.3)
    expected = hg.exact(masked, weights, alpha, v)
    assert relative_error(hg.finite_difference(masked, weights, alpha, v, 1e-4), expected) < 1e-4
    torch.manual_seed(0)
    assert relative_error(hg.finite_difference(loss, weights, alpha, v, 1e-4), expected) > 0.5


def test_one_sided_takes_the_gradient_at_the_weights_as_given():
    _, loss, weights, alpha, v = network(dropout=0.3)
    at_weights = hg.alpha_gradient(loss, weights, alpha)
    calls = []

    def counted(weights, alpha):
        calls.append(1)
        return loss(weights, alpha)

    given = hg.one_sided(counted, weights, alpha, v, 1e-2, at_weights)
    assert len(calls) == 1
    own = hg.one_sided(counted, weights, alpha, v, 1e-2)
    assert len(calls) == 3
    assert all(torch.equal(g, o) for g, o in zip(given, own, strict=True))


def test_the_product_is_odd_in_its_direction_and_nothing_that_is_given_changes():
    _, loss, weights, alpha, v = network(dropout=0.3)
    given = [t.clone() for t in (*weights, *alpha, *v)]
    torch.manual_seed(1)
    state = torch.get_rng_state()
    forth = hg.finite_difference(loss, weights, alpha, v, 1e-2)
    back = hg.finite_difference(loss, weights, alpha, [-d for d in v], 1e-2)
    for f, b in zip(forth, back, strict=True):
        torch.testing.assert_close(f, -b, rtol=1e-9, atol=1e-12)
        assert f.norm() > 0
    assert all(torch.equal(a, b) for a, b in zip(given, (*weights, *alpha, *v), strict=True))
    assert not any(tensor.requires_grad for tensor in (*weights, *alpha, *v))
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("kind", "left_at"), [("finite_difference", -1e-2), ("one_sided", 1e-2)])
def test_in_place_is_the_same_product_and_leaves_w_displaced(kind, left_at):
    _, loss, weights, alpha, v = network(dropout=0.3)
    product, start = getattr(hg, kind), [w.clone() for w in weights]
    expected = product(loss, weights, alpha, v, 1e-2)
    found = product(loss, weights, alpha, v, 1e-2, in_place=True)
    assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))
    for w, s, d in zip(weights, start, v, strict=True):
        torch.testing.assert_close(w, s + left_at * d, rtol=0, atol=1e-15)


def test_a_displacement_has_the_length_it_is_given():
    _, _, weights, _, v = network(dropout=0.0)
    moved = hg.displaced(weights, v, 0.01 / hg.norm(v).item())
    distance = torch.cat([(m - w).flatten() for m, w in zip(moved, weights, strict=True)]).norm()
    assert distance.item() == pytest.approx(0.01, rel=1e-9)


def test_what_the_loss_does_not_reach_has_zero_gradient():
    used, unused = torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)
    found = hg.gradients((used**2).sum(), [used, unused])
    assert found[0].tolist() == [2, 2] and found[1].tolist() == [0, 0, 0]
