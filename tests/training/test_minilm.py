"""The hypergradient on a real pretrained model with dropout on."""

import pytest
import torch
from torch.func import functional_call

from agwm.models.mixed import alpha_parameters, mix_pretrained
from agwm.models.pretrained import load_pretrained
from agwm.numerics import hypergradient as hg
from agwm.numerics.mixing import init_alpha
from agwm.numerics.rng import seeded

INNER = ["No dog that the men saw has ever barked.", "Who did Mary see the boy?"] * 4
OUTER = ["A film of rare warmth.", "A waste of two hours and of its actors."] * 4


@pytest.fixture
def search_step(compose):
    """`search_step(dtype)`: losses of (W, alpha), W, alpha, and v, of the mixed MiniLM."""
    config = compose("model=minilm")

    def built(dtype):
        pretrained = load_pretrained(config.model, config.task, head_seed=0)
        generator = torch.Generator().manual_seed(0)

        def draw(shape):
            return torch.randn(shape, generator=generator)

        model = mix_pretrained(
            pretrained.model, pretrained.fresh, lambda shape: init_alpha(shape, 1, draw, 0.005)
        )
        model = model.to(dtype).train()
        alpha = alpha_parameters(model)
        weights = {n: p for n, p in model.named_parameters() if n not in alpha}
        names = [*weights, *alpha]
        seeds = iter(range(100, 200))

        def loss_on(texts, seed=None):
            batch = pretrained.tokenizer(texts, padding=True, return_tensors="pt")
            batch["labels"] = torch.tensor([1, 0] * 4)

            def loss(weights, alpha):
                values = dict(zip(names, [*weights, *alpha], strict=True))
                with seeded(next(seeds) if seed is None else seed):
                    return functional_call(model, values, kwargs=dict(batch)).loss

            return loss

        weights, alpha = list(weights.values()), list(alpha.values())
        v = hg.gradients(loss_on(OUTER, seed=2)(weights, alpha), weights)
        return loss_on(INNER, seed=1), loss_on(INNER), weights, alpha, v

    return built


def relative_error(found, expected):
    difference = [f.double() - e for f, e in zip(found, expected, strict=True)]
    return (hg.norm(difference) / hg.norm(expected)).item()


def test_finite_difference_against_double_backward(search_step):
    loss, _, weights, alpha, v = search_step(torch.float64)
    expected = hg.exact(loss, weights, alpha, v)
    size = hg.norm(v).item()
    in_double = hg.finite_difference(loss, weights, alpha, v, 1e-3 / size)
    assert relative_error(in_double, expected) < 1e-6
    loss, unreplayed, weights, alpha, v = search_step(torch.float32)
    before = [w.detach().clone() for w in weights]
    in_single = hg.finite_difference(loss, weights, alpha, v, 1e-2 / size)
    assert relative_error(in_single, expected) < 1e-3
    assert all(torch.equal(w, b) for w, b in zip(weights, before, strict=True))
    noise = hg.finite_difference(unreplayed, weights, alpha, v, 1e-2 / size)
    assert relative_error(noise, expected) > 0.5
