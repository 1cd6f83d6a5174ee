from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from agwm.errors import UserError
from agwm.method import Step, build_method
from agwm.methods.bi_drop import child
from agwm.numerics.optim import adamw

DEFAULTS = {
    "_target_": "agwm.methods.bi_drop.BiDrop",
    "name": "bi",
    "sub_networks": 2,
    "child_fraction": 0.5,
    "mask_decay": True,
}
HEAD = frozenset({"classifier.weight", "classifier.bias"})


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def toy(weight, *passes):
    """A matrix and a head; each pass has the next of `passes` as gradient, the head its sum."""
    model = nn.Module()
    model.encoder = nn.Linear(*reversed(weight.shape)).double()
    model.encoder.weight = nn.Parameter(weight.clone())
    model.classifier = nn.Linear(2, 1).double()
    given = iter(passes)

    def forward():
        gradient = next(given)
        rest = [model.encoder.bias, *model.classifier.parameters()]
        loss = (model.encoder.weight * gradient).sum()
        return SimpleNamespace(loss=loss + gradient.sum() * sum(p.sum() for p in rest))

    model.forward = forward
    return model


def prepared(model, **values):
    method = build_method(DEFAULTS | values)
    assert method.prepare(model, SimpleNamespace(fresh=HEAD)) is model
    return method


def backward(method, model, optimizer=None):
    return method.backward(model, {}, Step(0, 1, 0, optimizer), lambda loss: loss.backward())


def test_what_two_sub_networks_disagree_on_is_not_updated():
    first, second, theta = tensor([[1.0, 1.0]]), tensor([[1.0, -1.0]]), tensor([[1.0, 1.0]])
    assert child([first, second], theta, 0.5).tolist() == [[True, False]]
    model = toy(theta, first, second)
    backward(prepared(model), model)
    assert model.encoder.weight.grad.tolist() == [[1, 0]]


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.7])
def test_the_child_is_the_upper_share_of_stability_times_relative_size(fraction):
    draw = np.random.default_rng(0)
    gradients, theta = draw.normal(size=(3, 6, 7)), draw.normal(size=(6, 7))
    mean = gradients.mean(0)
    stability = abs(mean) / np.sqrt(((gradients - mean) ** 2).sum(0))
    score = stability * abs(mean) / abs(theta)
    kept = int(np.ceil(42 * fraction))
    expected = score >= np.sort(score.ravel())[-kept]
    found = child(list(torch.tensor(gradients)), torch.tensor(theta), fraction)
    assert np.array_equal(found.numpy(), expected)


def test_the_share_that_is_kept_is_exact():
    gradient = torch.arange(1.0, 101.0).view(10, 10)
    for percent in (7, 14, 28, 55, 56, 57):
        mask = child([gradient], torch.ones(10, 10), percent / 100)
        assert torch.equal(mask, gradient > 100 - percent)


def test_each_matrix_keeps_its_own_share_and_all_but_pretrained_matrices_get_the_mean():
    theta = torch.ones(4, 5).double()
    passes = torch.randn(2, 4, 5, dtype=torch.float64)
    model = toy(theta, *passes)
    model.small = nn.Linear(5, 4).double()
    inner = model.forward

    def forward():
        loss = inner().loss
        return SimpleNamespace(loss=loss + 1e-9 * (model.small.weight * torch.rand(4, 5)).sum())

    model.forward = forward
    backward(prepared(model, child_fraction=0.3), model)
    assert model.encoder.weight.grad.count_nonzero() == 6
    assert model.small.weight.grad.count_nonzero() == 6
    mean = passes.sum((1, 2)).mean()
    for parameter in (model.encoder.bias, *model.classifier.parameters()):
        torch.testing.assert_close(parameter.grad, mean.expand_as(parameter))


def test_kept_entries_get_the_mean_and_a_fraction_of_one_keeps_all():
    passes = torch.randn(3, 4, 5, dtype=torch.float64)
    for fraction in (0.5, 1.0):
        model = toy(torch.ones(4, 5).double(), *passes)
        backward(prepared(model, sub_networks=3, child_fraction=fraction), model)
        found, mean = model.encoder.weight.grad, passes.mean(0)
        assert (found != 0).sum() == 20 * fraction
        torch.testing.assert_close(found[found != 0], mean[found != 0])


def test_the_order_of_the_passes_is_irrelevant():
    passes = torch.randn(2, 4, 5, dtype=torch.float64)
    found = []
    for order in (passes, passes.flip(0)):
        model = toy(torch.ones(4, 5).double(), *order)
        backward(prepared(model), model)
        found.append(model.encoder.weight.grad)
    assert torch.equal(*found)


def test_without_variance_the_largest_beside_their_weights_are_kept():
    gradient = tensor([[2.0, 2.0, 3.0, 0.0, -4.0]])
    theta = tensor([[1.0, 0.0, 3.0, 0.0, 100.0]])
    # Squares over the weights: 4, the most there is, 3, 0, 0.16.
    order = [1, 0, 2, 4]
    for kept in range(1, 5):
        for passes in ([gradient], [gradient, gradient]):
            mask = child(passes, theta, kept / 5).flatten()
            assert sorted(mask.nonzero().flatten().tolist()) == sorted(order[:kept])


def test_what_no_float_can_hold_is_the_largest():
    gradient, theta = torch.tensor([[1.0, 1e30, 0.0, 2.0]]), torch.zeros(1, 4)
    assert child([gradient], theta, 0.25).tolist() == [[False, True, False, False]]


def test_the_passes_change_neither_the_weights_nor_the_optimizers_state():
    passes = torch.randn(6, 4, 5, dtype=torch.float64)
    model = toy(torch.ones(4, 5).double(), *passes)
    method = prepared(model)
    optimizer = adamw([{"params": list(model.parameters()), "lr": 0.1}])
    backward(method, model)
    optimizer.step()
    weights = [parameter.detach().clone() for parameter in model.parameters()]
    state = [{k: v.clone() for k, v in optimizer.state[p].items()} for p in model.parameters()]
    optimizer.zero_grad()
    backward(method, model, optimizer)
    for parameter, weight, before in zip(model.parameters(), weights, state, strict=True):
        assert torch.equal(parameter, weight)
        assert all(torch.equal(optimizer.state[parameter][key], before[key]) for key in before)


def test_each_pass_has_a_dropout_of_its_own_and_the_logged_loss_is_the_mean():
    model = nn.Module()
    model.encoder, model.dropout = nn.Linear(50, 50).double(), nn.Dropout(0.5)
    x = torch.randn(1, 50, dtype=torch.float64)
    model.forward = lambda: SimpleNamespace(loss=model.dropout(model.encoder(x)).square().sum())
    torch.manual_seed(1)
    losses = [model().loss for _ in range(2)]
    single = [torch.autograd.grad(loss, model.encoder.bias)[0] for loss in losses]
    assert not torch.equal(*single)
    torch.manual_seed(1)
    logged = backward(prepared(model), model)
    torch.testing.assert_close(model.encoder.bias.grad, (single[0] + single[1]) / 2)
    torch.testing.assert_close(logged, (losses[0] + losses[1]).detach() / 2)


@pytest.mark.parametrize("mask_decay", [True, False])
def test_masked_entries_keep_their_momentum_and_are_spared_the_decay(mask_decay):
    # The first entry is in the child at the first step alone, the last one never.
    given = [tensor([[1.0, 0.5, 0.0]]), tensor([[1.0, 5.0, 0.0]]), tensor([[1.0, 5.0, 0.0]])]
    model = toy(tensor([[1.0, 1.0, 1.0]]), *given)
    method = prepared(model, sub_networks=1, child_fraction=0.3, mask_decay=mask_decay)
    optimizer = adamw([{"params": [model.encoder.weight], "lr": 1e-3, "weight_decay": 0.1}])
    first, never = 1.0, 1.0
    for index, moved in enumerate([1.00000e-3, 0.67006e-3, 0.51796e-3]):
        step = Step(index, 3, index, optimizer)
        optimizer.zero_grad()
        method.backward(model, {}, step, lambda loss: loss.backward())
        method.before_step(model, step)
        optimizer.step()
        method.after_step(model, step)
        first = first * (1 - (1e-4 if index == 0 or not mask_decay else 0)) - moved
        never *= 1 if mask_decay else 1 - 1e-4
        found = model.encoder.weight.flatten().tolist()
        assert found[0] == pytest.approx(first, abs=2e-8)
        assert found[2] == pytest.approx(never, abs=1e-15)


def test_the_decay_that_is_given_back_is_that_of_the_steps_own_rate():
    model = toy(tensor([[1.0, 3.0]]), *[tensor([[1.0, 0.0]])] * 4)
    method = prepared(model, sub_networks=1)
    groups = [{"params": [model.encoder.weight], "lr": 0.0, "weight_decay": 0.1}]
    optimizer = adamw(groups)
    for index, lr in enumerate([0.0, 0.5, 1.0, 0.25]):
        optimizer.param_groups[0]["lr"] = lr
        step = Step(index, 4, index, optimizer)
        optimizer.zero_grad()
        method.backward(model, {}, step, lambda loss: loss.backward())
        method.before_step(model, step)
        optimizer.step()
        method.after_step(model, step)
    assert model.encoder.weight[0, 1].item() == pytest.approx(3, abs=1e-14)


def test_a_step_costs_as_many_passes_as_there_are_sub_networks(tiny_run):
    record, _ = tiny_run("method=bi_drop", "method.sub_networks=3")
    assert record.cost.forward_passes == record.cost.backward_passes == 9
    assert record.cost.optimizer_steps == 3


def test_the_plan_tells_the_passes_of_a_step():
    assert [phase.passes for phase in build_method(DEFAULTS | {"sub_networks": 5}).plan()] == [5]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sub_networks", 0), ("child_fraction", 0.0), ("child_fraction", 1.1),
        ("child_fraction", float("nan")),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_told(key, value):
    with pytest.raises(UserError, match=f"^method.{key}={value}: must be "):
        build_method(DEFAULTS | {key: value})
