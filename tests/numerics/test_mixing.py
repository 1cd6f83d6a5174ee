import pytest
import torch
from torch.nn.functional import linear

from agwm.numerics.mixing import init_alpha, mix

W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
W0 = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
BIAS = torch.tensor([0.5, -0.5])


def random_case(form, rank, shape=(5, 7)):
    generator = torch.Generator().manual_seed(1)
    # As float64 from the start: differences of float32 values would be exact in it.
    task, pretrained = (
        torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    drawn = init_alpha(shape, rank, lambda s: torch.randn(s, generator=generator), 0.3, 0.5)
    alpha = [factor.double() for factor in drawn]
    return task.requires_grad_(), pretrained, [a.requires_grad_() for a in alpha], form


def reference(task, pretrained, alpha, form):
    """The equations of the paper, section 3, written out."""
    if len(alpha) == 1:
        return alpha[0] * task + (1 - alpha[0]) * pretrained
    a1, a2 = alpha
    own = a1 @ a2 / a1.shape[1]
    other = 1 - own if form == "convex" else (1 - a1) @ (1 - a2) / a1.shape[1]
    return own * task + other * pretrained


def test_a_product_worked_by_hand():
    alpha = (torch.tensor([[0.5], [1.0]]), torch.tensor([[1.0, 0.5]]))
    mixed = mix(W, W0, alpha)
    assert mixed.tolist() == [[0.5, 0.75], [3.0, 2.0]]
    assert linear(torch.tensor([1.0, 2.0]), mixed, BIAS).tolist() == [2.5, 6.5]
    ones = torch.ones(2, 2)
    assert mix(ones, ones, alpha).tolist() == [[0.5, 0.5], [1.0, 0.5]]


@pytest.mark.parametrize("form", ["product", "convex"])
@pytest.mark.parametrize("rank", [1, 3, "full", "row", "layer"])
def test_bounds_give_the_task_and_the_pretrained_weight_exactly(form, rank):
    task, pretrained, alpha, _ = random_case(form, rank)
    ones, zeros = ([torch.full_like(a, value) for a in alpha] for value in (1.0, 0.0))
    assert torch.equal(mix(task, pretrained, ones, form), task)
    assert torch.equal(mix(task, pretrained, zeros, form), pretrained)


def test_the_product_form_erases_a_weight_between_the_corners():
    alpha = (torch.ones(2, 1), torch.zeros(1, 2))
    assert torch.count_nonzero(mix(W, W0, alpha)) == 0
    assert torch.equal(mix(W, W0, alpha, "convex"), W0)


@pytest.mark.parametrize("form", ["product", "convex"])
@pytest.mark.parametrize("rank", [1, 2, 8, "full", "row", "layer"])
def test_values_and_gradients_follow_the_equations(form, rank):
    task, pretrained, alpha, _ = random_case(form, rank)
    inputs = [task, *alpha]
    weighting = torch.linspace(-1, 1, 35).double().reshape(5, 7)
    found = mix(task, pretrained, tuple(alpha), form)
    expected = reference(task, pretrained, alpha, form)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for own, theirs in zip(
        torch.autograd.grad((found * weighting).sum(), inputs),
        torch.autograd.grad((expected * weighting).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(own, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["product", "convex"])
@pytest.mark.parametrize("rank", [1, 2, "full", "row", "layer"])
def test_first_and_second_derivatives_agree_with_differences(form, rank):
    task, pretrained, alpha, _ = random_case(form, rank, shape=(3, 4))

    def of(task, *alpha):
        return mix(task, pretrained, alpha, form)

    assert torch.autograd.gradcheck(of, (task, *alpha))
    assert torch.autograd.gradgradcheck(of, (task, *alpha))
    # It passes over gradients that carry no graph.
    slopes = torch.autograd.grad(of(task, *alpha).sum(), (task, *alpha), create_graph=True)
    assert all(slope.requires_grad for slope in slopes)


def test_rank_one_gradients_in_the_form_of_the_paper_s_appendix():
    task, pretrained, (a1, a2), _ = random_case("product", 1)
    grad = torch.linspace(-2, 1, 35).double().reshape(5, 7)
    found = torch.autograd.grad(mix(task, pretrained, (a1, a2)), [task, a1, a2], grad)
    torch.testing.assert_close(found[0], (a1 @ a2) * grad)
    torch.testing.assert_close(found[1], (grad * task) @ a2.T - (grad * pretrained) @ (1 - a2).T)
    torch.testing.assert_close(found[2], a1.T @ (grad * task) - (1 - a1).T @ (grad * pretrained))


@pytest.mark.parametrize("rank", [1, 4])
def test_autocast_rounds_neither_the_mixture_nor_its_gradients(rank):
    task, pretrained, alpha, form = random_case("product", rank, shape=(16, 16))
    inputs = [t.detach().float().requires_grad_() for t in (task, *alpha)]

    def of_mixture():
        mixed = mix(inputs[0], pretrained.float(), tuple(inputs[1:]), form)
        return mixed, *torch.autograd.grad((mixed**2).sum(), inputs)

    plain = of_mixture()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = of_mixture()
    assert all(torch.equal(a, b) for a, b in zip(inside, plain, strict=True))


@pytest.mark.parametrize(("std", "mean_sum"), [(0.005, 0.9960), (0.1, 0.9234), (0.45, 0.7080)])
def test_coefficients_at_the_start_shrink_the_weight_as_published(std, mean_sum):
    generator = torch.Generator().manual_seed(0)

    def normal(shape):
        return torch.randn(shape, generator=generator)

    a1, a2 = init_alpha((10**6, 10**6), 1, normal, std)
    # The mean over all 10^12 entries, from those of the factors.
    d1, d2 = 1 - a1.mean().item(), 1 - a2.mean().item()
    assert 1 - d1 - d2 + 2 * d1 * d2 == pytest.approx(mean_sum, abs=0.002)
    entries = torch.cat([a1.flatten(), a2.flatten()])
    assert (entries == 1).float().mean().item() == pytest.approx(0.5, abs=0.01)
    assert entries.min() >= 0 and entries.max() <= 1


def test_shapes_and_forms_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"\(2, 1\).*\(1, 3\).*does not fit"):
        mix(W, W0, (torch.ones(2, 1), torch.ones(1, 3)))
    with pytest.raises(ValueError, match="does not fit"):
        mix(W, W0, (torch.ones(2, 2), torch.ones(1, 2)))
    with pytest.raises(ValueError, match=r"does not fit .*\(2, 2\) and \(1, 2\)"):
        mix(W, W0[:1], (torch.ones(2, 1), torch.ones(1, 2)))
    with pytest.raises(ValueError, match=r"\(3, 1\).*does not fit"):
        mix(W, W0, (torch.ones(3, 1),))
    with pytest.raises(ValueError, match="lerp"):
        mix(W, W0, (torch.ones(2, 1), torch.ones(1, 2)), "lerp")
