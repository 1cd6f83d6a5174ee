from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agwm.errors import UserError
from agwm.method import Step, build_method

DEFAULTS = {
    "_target_": "agwm.methods.mixout.Mixout",
    "name": "mixout",
    "p": 0.5,
    "keep_dropout": False,
    "official": False,
}
HEAD = frozenset({"classifier.weight", "classifier.bias"})


def toy(rows=3, columns=4):
    """An encoder and a head; the loss is the sum of the outputs' squares."""
    torch.manual_seed(0)
    model = nn.Module()
    model.base_model = nn.Sequential(nn.Linear(columns, rows), nn.Dropout(0.1))
    model.dropout = nn.Dropout(0.2)
    model.classifier = nn.Linear(rows, 2)

    def forward(x):
        return SimpleNamespace(loss=model.classifier(model.base_model(x)).square().sum())

    model.forward = forward
    return model.double().eval()


def prepared(model, **values):
    method = build_method(DEFAULTS | values)
    assert method.prepare(model, SimpleNamespace(fresh=HEAD)) is model
    return method


def trained(model):
    """`model` with every parameter moved from where it was."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)
    return model


def step(seed):
    return Step(0, 1, seed, None)


def seen(method, model, seed=0):
    """Weights that the model computes its loss with: the encoder's and the head's."""
    weights = []
    hooks = [
        layer.register_forward_pre_hook(lambda m, _: weights.append(m.weight.detach().clone()))
        for layer in (model.base_model[0], model.classifier)
    ]
    columns = model.base_model[0].in_features
    method.loss(model, {"x": torch.ones(1, columns).double()}, step(seed))
    for hook in hooks:
        hook.remove()
    return weights


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 1.0])
def test_before_the_first_step_the_weights_are_the_pretrained_ones_bit_for_bit(p, official):
    model = toy()
    method = prepared(model, p=p, official=official)
    for seed in range(5):
        encoder, head = seen(method, model, seed)
        assert torch.equal(encoder, model.base_model[0].weight)
        assert torch.equal(head, model.classifier.weight)


def test_weights_of_one_towards_zero_become_zero_or_two():
    model = toy(rows=5, columns=200)
    nn.init.zeros_(model.base_model[0].weight)
    method = prepared(model)
    nn.init.ones_(model.base_model[0].weight)
    encoder, _ = seen(method, model)
    assert encoder.unique().tolist() == [0, 2]
    assert (encoder == encoder[:1]).all()
    assert 0.35 < (encoder[0] == 0).double().mean() < 0.65


def test_p_is_the_share_that_falls_back():
    model = toy(columns=2000)
    start = model.base_model[0].weight.detach().clone()
    method = prepared(model, p=0.9)
    encoder, _ = seen(method, trained(model))
    back = (encoder == start).all(0)
    assert 0.87 < back.double().mean() < 0.93
    assert not (encoder == start)[:, ~back].any()


def test_masks_differ_between_steps_and_matrices_and_not_within_a_step():
    model = toy(rows=60, columns=60)
    start = [model.base_model[0].weight.detach().clone(), model.classifier.weight.detach().clone()]
    method = prepared(model, official=True)
    trained(model)
    first, again, other = (
        [
            (weight == old).all(0)
            for weight, old in zip(seen(method, model, seed), start, strict=True)
        ]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[0], first[1])


def test_the_mean_over_many_masks_is_the_weight():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 8, generator=generator, dtype=torch.float64)
    start = weight + torch.randn(8, 8, generator=generator, dtype=torch.float64)
    method = build_method(DEFAULTS)
    mean = sum(method.mixed(weight, start, generator) for _ in range(20_000)) / 20_000
    assert (mean - weight).square().mean().sqrt() < 0.02


def gradient(method, model, x, seed):
    model.zero_grad()
    method.loss(model, {"x": x}, step(seed)).backward()
    return model.base_model[0].weight.grad


@pytest.mark.parametrize(("official", "factor"), [(False, 1.0), (True, 1 - 0.3)])
def test_the_gradient_is_the_formulas_and_the_released_one_is_short_by_a_factor(official, factor):
    model = toy(columns=12)
    method = prepared(model, p=0.3, official=official)
    weight = trained(model).base_model[0].weight
    x = torch.randn(5, 12, dtype=torch.float64)
    found = gradient(method, model, x, seed=3)
    numerical = torch.zeros_like(weight)
    for index in range(weight.numel()):
        sides = []
        for h in (1e-5, -1e-5):
            with torch.no_grad():
                weight.view(-1)[index] += h
                sides.append(method.loss(model, {"x": x}, step(3)).item())
                weight.view(-1)[index] -= h
        numerical.view(-1)[index] = (sides[0] - sides[1]) / 2e-5
    torch.testing.assert_close(found, factor * numerical, rtol=1e-6, atol=1e-7)
    zero = found == 0
    assert torch.equal(zero, zero[:1].expand_as(zero))
    assert 0 < zero[0].sum() < 12


def test_the_head_has_nothing_to_fall_back_to_and_keeps_its_dropout():
    model = toy()
    method = prepared(model, p=1.0)
    start = model.base_model[0].weight.detach().clone()
    encoder, head = seen(method, trained(model))
    assert torch.equal(encoder, start)
    assert torch.equal(head, model.classifier.weight)
    assert (model.base_model[1].p, model.dropout.p) == (0.0, 0.2)


def test_officially_the_head_falls_back_to_its_random_start_and_loses_its_dropout():
    model = toy()
    method = prepared(model, p=1.0, official=True)
    start = model.classifier.weight.detach().clone()
    _, head = seen(method, trained(model))
    assert torch.equal(head, start)
    assert (model.base_model[1].p, model.dropout.p) == (0.0, 0.0)


@pytest.mark.parametrize("official", [False, True])
def test_dropout_can_be_kept_beside_it(official):
    model = toy()
    prepared(model, keep_dropout=True, official=official)
    assert (model.base_model[1].p, model.dropout.p) == (0.1, 0.2)


def test_p_of_zero_is_the_plain_loss_bit_for_bit():
    model = toy(rows=40, columns=40).float()
    method = prepared(model, p=0.0)
    x = torch.randn(5, 40)
    nn.init.normal_(model.base_model[0].weight)
    found = gradient(method, model, x, seed=0).clone()
    model.zero_grad()
    model(x=x).loss.backward()
    assert torch.equal(found, model.base_model[0].weight.grad)


def test_biases_are_never_mixed_and_evaluation_uses_the_trained_weights():
    model = toy()
    start = model.base_model[0].weight.detach().clone()
    method = prepared(model, p=1.0)
    trained(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(5, 4, dtype=torch.float64)

    def by_hand(weight):
        hidden = x @ weight.T + before["base_model.0.bias"]
        return (hidden @ before["classifier.weight"].T + before["classifier.bias"]).square().sum()

    torch.testing.assert_close(method.loss(model, {"x": x}, step(0)), by_hand(start))
    torch.testing.assert_close(model(x=x).loss, by_hand(before["base_model.0.weight"]))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_p_out_of_range_is_told(value):
    with pytest.raises(UserError, match=rf"^method.p={value}: must be in \[0, 1\]"):
        build_method(DEFAULTS | {"p": value})


def test_columns_that_all_fall_back_have_a_gradient_of_zero_and_so_decay():
    model = toy()
    found = gradient(prepared(model, p=1.0), model, torch.ones(1, 4).double(), seed=0)
    assert found is not None and not found.any()
