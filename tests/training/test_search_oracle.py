"""The search step against autograd through the look-ahead, in float64 and with dropout on."""

import pytest
import torch
from search_harness import OPTIM, fit, mixed_model, settings
from torch.nn.attention import SDPBackend, sdpa_kernel

from agwm.config import Optim
from agwm.training import search
from agwm.training.search import BilevelSearchModule

ETA, ALPHA_LR = 0.5, 1e-3


@pytest.fixture
def by_sgd(monkeypatch):
    """With SGD for both, the paper's look-ahead is the step that W takes, and alpha shows h."""

    def sgd(groups):
        return torch.optim.SGD([{**group, "weight_decay": 0.0} for group in groups])

    monkeypatch.setattr(search, "adamw", sgd)


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
    optim = Optim(**{**vars(OPTIM), "lr": ETA})
    chosen = settings(
        hypergradient=hypergradient, order=order, alpha_lr=ALPHA_LR, max_grad_norm=1e9,
        fd_radius=1e-3,
    )  # fmt: skip

    def module():
        model = mixed_model(pretrained, std=0.05).double()
        return BilevelSearchModule(model, chosen, optim, steps=5, seed=0, k=0)

    done = fit(module(), data, steps=1)

    reference = module()
    reference.model.train()
    batch = next(iter(data.search_dataloader(0, chosen.inner_fraction)))[0]
    weights, alpha = list(reference._weights.values()), reference._alpha_values()
    inner, outer = (
        reference._loss(batch["inner"], "inner"),
        reference._loss(batch["outer"], "outer"),
    )
    with sdpa_kernel(SDPBackend.MATH):
        slope = torch.autograd.grad(inner(weights, alpha), weights, create_graph=True)
        ahead = [w - ETA * g for w, g in zip(weights, slope, strict=True)]
        expected = torch.autograd.grad(outer(ahead, alpha), alpha)
        direct = torch.autograd.grad(outer([w.detach() for w in ahead], alpha), alpha)
    found = [(a - b) / ALPHA_LR for a, b in zip(alpha, done._alpha_values(), strict=True)]
    size = max(e.abs().max() for e in expected)
    for f, e in zip(found, expected, strict=True):
        assert (f - e).abs().max() < tolerance * size
    # The implicit term is no trifle here: without it the comparison would fail.
    assert max((d - e).abs().max() for d, e in zip(direct, expected, strict=True)) > 0.01 * size

    final = ahead
    if order == "rollback":
        stepped = [b.detach() for b in done._alpha_values()]
        again = torch.autograd.grad(inner(weights, stepped), weights)
        final = [w - ETA * g for w, g in zip(weights, again, strict=True)]
    for w, f in zip(done._weights.values(), final, strict=True):
        torch.testing.assert_close(w.detach(), f.detach(), rtol=1e-9, atol=1e-12)
