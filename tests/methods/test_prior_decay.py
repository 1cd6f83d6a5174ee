from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agwm.config import Optim
from agwm.errors import UserError
from agwm.method import Step, build_method

FRESH = frozenset({"head.weight", "head.bias"})


def prior_decay(strength=1.0, form="decoupled"):
    target = "agwm.methods.prior_decay.PriorDecay"
    return build_method({"_target_": target, "name": "x", "strength": strength, "form": form})


class Fit:
    """A method on a body of three kinds of parameters and a fresh head, step by step."""

    def __init__(self, method, lr=0.01, decay=0.0, optimizer=None):
        torch.manual_seed(0)
        self.model = nn.ModuleDict(
            {"words": nn.Embedding(3, 2), "body": nn.Linear(2, 2), "norm": nn.LayerNorm(2),
             "head": nn.Linear(2, 2)}
        ).double()  # fmt: skip
        self.start = self.values()
        self.method = method
        optim = Optim(lr=lr, epochs=1, batch_size=1, warmup_ratio=0.0, weight_decay=decay)
        method.prepare(self.model, SimpleNamespace(optim=optim, fresh=FRESH))
        groups = method.parameter_groups(self.model, optim)
        self.optimizer = (optimizer or method.build_optimizer)(groups)

    def values(self):
        return {name: p.detach().clone() for name, p in self.model.named_parameters()}

    def away(self, by):
        for parameter in self.model.parameters():
            parameter.data += by

    def take(self, gradients=None):
        """One step as the trainer takes it, with gradients 0 unless given."""
        for name, parameter in self.model.named_parameters():
            given = torch.zeros_like(parameter) if gradients is None else gradients[name]
            parameter.grad = given.clone()
        step = Step(0, 10, 0, self.optimizer)
        self.method.before_step(self.model, step)
        self.optimizer.step()
        self.method.after_step(self.model, step)


def test_the_gap_to_the_start_shrinks_for_matrices_and_embeddings_alone():
    fit = Fit(prior_decay(), decay=0.3)
    fit.away(by=0.5)
    moved = fit.values()
    for _ in range(10):
        fit.take()
    after = fit.values()
    for name in ("words.weight", "body.weight"):
        gap = (after[name] - fit.start[name]) / 0.5
        torch.testing.assert_close(gap, torch.full_like(gap, 0.904382), atol=1e-6, rtol=0)
    for name in ("body.bias", "norm.weight", "norm.bias", "head.bias"):
        assert torch.equal(after[name], moved[name]), name


def test_the_pull_follows_the_schedule():
    fit = Fit(prior_decay())
    fit.away(by=0.5)
    for group in fit.optimizer.param_groups:
        group["lr"] = 0.005
    fit.take()
    gap = fit.values()["body.weight"] - fit.start["body.weight"]
    torch.testing.assert_close(gap, torch.full_like(gap, 0.5 * (1 - 0.005)))


def test_at_the_start_without_gradients_the_body_keeps_its_bits():
    fit = Fit(prior_decay(), decay=0.3)
    for _ in range(5):
        fit.take()
    after = fit.values()
    for name in after.keys() - {"head.weight"}:
        assert torch.equal(after[name], fit.start[name]), name


def test_the_head_decays_to_zero_by_the_recipe_s_decay():
    fit = Fit(prior_decay(), decay=0.3)
    for _ in range(10):
        fit.take()
    expected = fit.start["head.weight"] * (1 - 0.01 * 0.3) ** 10
    torch.testing.assert_close(fit.values()["head.weight"], expected, rtol=1e-12, atol=0)


def after_random_steps(form, optimizer=None):
    fit = Fit(prior_decay(2.0, form), optimizer=optimizer)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        fit.take(
            {n: torch.randn(p.shape, generator=generator).double() for n, p in fit.start.items()}
        )
    return fit.values()


def test_both_forms_coincide_for_sgd_and_not_for_adam():
    def sgd(groups):
        return torch.optim.SGD(groups, lr=0.01)

    one, other = after_random_steps("decoupled", sgd), after_random_steps("coupled", sgd)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-12, atol=1e-14)
    one, other = after_random_steps("decoupled"), after_random_steps("coupled")
    assert not torch.allclose(one["body.weight"], other["body.weight"], rtol=1e-4)


@pytest.mark.parametrize("form", ["decoupled", "coupled"])
def test_sgd_steps_are_those_of_the_penalty_s_gradient(form):
    fit = Fit(prior_decay(2.0, form), optimizer=lambda groups: torch.optim.SGD(groups, lr=0.01))
    fit.away(by=0.5)
    moved = fit.values()
    fit.take({name: torch.ones_like(p) for name, p in moved.items()})
    weight = moved["body.weight"].clone().requires_grad_()
    # Gradient 1 of the task, and strength / 2 times the squared distance.
    loss = weight.sum() + 2.0 / 2 * (weight - fit.start["body.weight"]).square().sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(fit.values()["body.weight"], moved["body.weight"] - 0.01 * gradient)


def test_a_pull_beyond_the_start_is_refused_where_it_would_leap():
    with pytest.raises(UserError, match=r"method.strength=101.0: must be at most 100 at"):
        Fit(prior_decay(101.0))
    Fit(prior_decay(100.0)), Fit(prior_decay(101.0, "coupled"))
