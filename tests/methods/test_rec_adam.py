import math
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from agwm.config import Optim
from agwm.method import Step, build_method
from agwm.methods.rec_adam import RecAdam

LR = 2e-5


def rec_adam(annealing="sigmoid", midpoint=0.25, slope=25.0, pull=0.1, decay_body=False):
    values = {
        "annealing": annealing, "midpoint": midpoint, "slope": slope, "pull": pull,
        "decay_body": decay_body,
    }  # fmt: skip
    return build_method({"_target_": "agwm.methods.rec_adam.RecAdam", "name": "x", **values})


class Fit:
    """A method on two scalar layers, `body` from 0.1 and the fresh `head`, step by step."""

    def __init__(self, method, lr=LR, decay=0.0):
        layers = {"body": nn.Linear(1, 1), "head": nn.Linear(1, 1)}
        self.model = nn.ModuleDict(layers).double()
        self.fill(body=0.1, head=0.5)
        self.method, self.lr = method, lr
        optim = Optim(lr=lr, epochs=1, batch_size=1, warmup_ratio=0.0, weight_decay=decay)
        fresh = frozenset({"head.weight", "head.bias"})
        method.prepare(self.model, SimpleNamespace(optim=optim, fresh=fresh))
        self.optimizer = method.build_optimizer(method.parameter_groups(self.model, optim))

    def fill(self, **values):
        for name, value in values.items():
            for parameter in self.model[name].parameters():
                parameter.data.fill_(value)

    def take(self, index, total, gradient, share_of_lr=1.0):
        """One step as the trainer takes it; the weight and the bias of both layers."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * share_of_lr
        for parameter in self.model.parameters():
            parameter.grad = torch.full_like(parameter, gradient)
        step = Step(index, total, 0, self.optimizer)
        self.method.before_step(self.model, step)
        self.optimizer.step()
        self.method.after_step(self.model, step)
        return {name: p.item() for name, p in self.model.named_parameters()}


def share(method, index, total=1000):
    return method.task_share(Step(index, total, 0, None))


def test_the_first_step_of_the_paper_s_setting():
    # gamma 5000 = 0.1 / 2e-5, t0 = 0.25 * 1000, k = 25 / 250.
    method = rec_adam()
    fit = Fit(method)
    fit.fill(body=0.2)
    found = fit.take(0, 1000, gradient=1.0)
    assert found["body.weight"] == pytest.approx(0.19, abs=1e-12)
    assert found["body.bias"] == pytest.approx(0.19, abs=1e-12)
    moments = fit.optimizer.state[fit.model["body"].weight]
    assert moments["exp_avg"].item() == pytest.approx(0.1, rel=1e-12)
    assert moments["exp_avg_sq"].item() == pytest.approx(0.001, rel=1e-12)
    assert share(method, 0) == pytest.approx(1.5349e-11, rel=1e-4)


def test_the_task_s_share_rises_with_the_step_as_each_annealing_has_it():
    assert share(rec_adam(), 249) == 0.5
    assert share(rec_adam(), 259) == pytest.approx(1 / (1 + math.exp(-1)), rel=1e-12)
    assert share(rec_adam(slope=1e6), 0) == 0 and share(rec_adam(slope=1e6), 999) == 1
    assert share(rec_adam("linear"), 124) == 0.5
    assert share(rec_adam("linear"), 249) == share(rec_adam("linear"), 999) == 1
    assert share(rec_adam("constant"), 0) == 1
    # t0 and k follow the length of the run.
    assert share(rec_adam(), 24, total=100) == 0.5


def test_the_share_scales_the_step_and_the_pull_acts_on_the_moved_weights():
    fit = Fit(rec_adam(pull=0.1), lr=0.1)
    fit.fill(body=0.2)
    found = fit.take(249, 1000, gradient=1.0)
    moved = 0.2 - 0.1 * 0.5
    assert found["body.weight"] == pytest.approx(moved - 0.1 * 0.5 * (moved - 0.1), abs=1e-8)


@pytest.mark.parametrize("share_of_lr", [1.0, 0.5])
def test_without_gradient_and_share_the_gap_shrinks_by_a_tenth_at_the_peak_rate(share_of_lr):
    fit = Fit(rec_adam(slope=1e6, midpoint=1.0))
    fit.fill(body=0.2)
    for index in range(10):
        found = fit.take(index, 1000, 0.0, share_of_lr)
        gap = 0.1 * (1 - 0.1 * share_of_lr) ** (index + 1)
        for name in ("body.weight", "body.bias"):
            assert found[name] - 0.1 == pytest.approx(gap, rel=1e-9)
            assert found[name.replace("body", "head")] == 0.5


@pytest.mark.parametrize("values", [{"midpoint": 1e-9}, {"annealing": "constant"}])
def test_with_the_whole_share_from_the_start_it_is_adamw(values):
    fit = Fit(rec_adam(decay_body=True, **values), lr=0.01, decay=0.3)
    fit.fill(body=0.2)
    expected = adamw([0.2, 0.2], lr=0.01, decay=[0.3, 0.0])
    for index, gradient in enumerate((1.0, -2.0, 0.3)):
        found = fit.take(index, 10, gradient)
        weight, bias = expected(gradient)
        assert found["body.weight"] == pytest.approx(weight, abs=1e-12)
        assert found["body.bias"] == pytest.approx(bias, abs=1e-12)


def adamw(start, lr, decay):
    """`step(gradient)` of torch's AdamW on scalars with a decay each."""
    values = [nn.Parameter(torch.tensor(x, dtype=torch.float64)) for x in start]
    groups = [{"params": [v], "weight_decay": d} for v, d in zip(values, decay, strict=True)]
    optimizer = torch.optim.AdamW(groups, lr=lr, eps=1e-8)

    def step(gradient):
        for value in values:
            value.grad = torch.full_like(value, gradient)
        optimizer.step()
        return [value.item() for value in values]

    return step


def test_the_head_follows_adamw_whatever_the_share():
    fit = Fit(rec_adam(), lr=0.01, decay=0.3)
    expected = adamw([0.5, 0.5], lr=0.01, decay=[0.3, 0.0])
    for index, gradient in enumerate((1.0, -2.0, 0.3)):
        found = fit.take(index, 1000, gradient)
        assert [found["head.weight"], found["head.bias"]] == pytest.approx(
            expected(gradient), abs=1e-12
        )


@pytest.mark.parametrize("decay_body", [False, True])
def test_the_body_decays_when_asked_to_by_its_share_of_the_rate(decay_body):
    fit = Fit(rec_adam(pull=0.0, decay_body=decay_body), lr=0.01, decay=0.3)
    fit.fill(body=0.2)
    found = fit.take(249, 1000, gradient=0.0)
    factor = 1 - 0.01 * 0.5 * 0.3 if decay_body else 1
    assert found["body.weight"] == pytest.approx(0.2 * factor, rel=1e-12)
    assert found["body.bias"] == 0.2


def test_in_a_run_every_step_starts_from_the_schedule_s_rate(tiny_run, monkeypatch):
    rates, before = [], RecAdam.before_step

    def watched(method, model, step):
        rates.append([group["lr"] for group in step.optimizer.param_groups])
        before(method, model, step)

    monkeypatch.setattr(RecAdam, "before_step", watched)
    tiny_run("method=rec_adam", "optim.epochs=2", "optim.warmup_steps=2")
    expected = [1e-3 * factor for factor in (0, 1 / 2, 1, 3 / 4, 2 / 4, 1 / 4)]
    assert [rate for step in rates for rate in step] == pytest.approx(
        [rate for rate in expected for _ in range(4)]
    )


def test_the_neutral_setting_is_vanilla_where_clipping_binds_too(tiny_run):
    def weights(*overrides):
        folder = tiny_run(
            *overrides, "optim.max_grad_norm=1e-3", "model.config.num_hidden_layers=6"
        )
        return load_file(folder[1] / "model" / "model.safetensors")

    vanilla = weights("method=vanilla")
    neutral = weights("method=rec_adam", "method.annealing=constant", "method.decay_body=true")
    assert all(torch.equal(vanilla[name], neutral[name]) for name in vanilla)
