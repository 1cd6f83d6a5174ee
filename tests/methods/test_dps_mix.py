from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from agwm.errors import UserError
from agwm.method import Step, build_method

DEFAULTS = {
    "_target_": "agwm.methods.dps_mix.DPSMix",
    "name": "mix",
    "frozen_fraction": 0.3,
    "update_ratio": 0.05,
    "dropout": 0.0,
    "official_steps": False,
}


def toy(*sizes):
    """Linear layers and a loss whose gradients with respect to the weights are the batch."""
    torch.manual_seed(0)
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(columns, rows) for rows, columns in sizes])
    model.dropout = nn.Dropout(0.1)
    model.seen = []

    def forward(gradients):
        weights = [layer.weight for layer in model.layers]
        model.seen[:] = [weight.detach().clone() for weight in weights]
        loss = sum((w * g).sum() for w, g in zip(weights, gradients, strict=True))
        return SimpleNamespace(loss=loss + sum(layer.bias.sum() for layer in model.layers))

    model.forward = forward
    return model.double()


def prepared(model, n=300, **values):
    method = build_method(DEFAULTS | values)
    fresh = frozenset({"layers.1.weight", "layers.1.bias"})
    runner = SimpleNamespace(labels=[0] * n, optim=SimpleNamespace(batch_size=16), fresh=fresh)
    assert method.prepare(model, runner) is model
    return method


def passed(method, model, gradients, index, total=40):
    """Weights that step `index` computes with, and its gradients."""
    model.zero_grad()
    step = Step(index, total, index, None)
    method.backward(model, {"gradients": gradients}, step, lambda loss: loss.backward())
    return list(model.seen), [layer.weight.grad.clone() for layer in model.layers]


def moved(model):
    """Move every parameter, as an optimizer's step would."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter)


def test_at_the_pretrained_weights_every_mixture_is_the_pretrained_weight():
    model = toy((4, 9), (2, 4))
    method = prepared(model)
    for index in range(8):
        weights, _ = passed(method, model, [torch.ones(4, 9), torch.ones(2, 4)], index)
        for layer, weight in zip(model.layers, weights, strict=True):
            assert torch.equal(weight, layer.weight)


def test_the_first_stage_mixes_columns_with_the_pretrained_ones_the_fresh_head_too():
    model = toy((4, 300), (2, 200))
    starts = [layer.weight.detach().clone() for layer in model.layers]
    method = prepared(model)
    # Steps 0, 1 and 4 are of first stages; the third of them has a stage II behind it.
    shares = []
    for index in range(5):
        moved(model)
        given = [torch.randn_like(start) for start in starts]
        weights, gradients = passed(method, model, given, index)
        for start, layer, weight, found, g in zip(
            starts, model.layers, weights, gradients, given, strict=True
        ):
            if index in (2, 3):
                continue
            kept = (found != 0).all(0)
            assert torch.equal(found, g * kept)
            expected = torch.where(kept, start + (layer.weight - start) / 0.7, start)
            torch.testing.assert_close(weight, expected)
            shares.append(kept.double().mean().item())
        assert all((layer.bias.grad == 1).all() for layer in model.layers)
    assert len(set(shares)) == 6
    assert sum(shares) / 6 == pytest.approx(0.7, abs=0.05)


def test_the_second_stage_mixes_chosen_entries_with_the_weights_at_its_start():
    model = toy((10, 10), (5, 4))
    method = prepared(model)
    for index in range(8):
        moved(model)
        if index in (2, 6):
            starts = [layer.weight.detach().clone() for layer in model.layers]
        if index in (0, 1, 4, 5):
            passed(method, model, [torch.rand(10, 10), torch.rand(5, 4)], index)
            continue
        weights, gradients = passed(method, model, [torch.ones(10, 10), torch.ones(5, 4)], index)
        if index in (2, 6):
            masks = gradients
            assert all(mask.unique().tolist() == [0, 1] for mask in masks)
            assert all(torch.equal(w, start) for w, start in zip(weights, starts, strict=True))
        for start, layer, weight, mask, found in zip(
            starts, model.layers, weights, masks, gradients, strict=True
        ):
            assert torch.equal(found, mask)
            torch.testing.assert_close(weight, start + mask * (layer.weight - start) / 0.7)


def ranked(score, kept):
    """Mask of the `kept` largest entries."""
    mask = np.zeros(score.size, dtype=bool)
    mask[np.argsort(-score.ravel(), kind="stable")[:kept]] = True
    return mask.reshape(score.shape)


@pytest.mark.parametrize(("stage", "rarity"), [(3, False), (49, False), (50, True), (60, True)])
def test_entries_are_ranked_by_activity_over_presence_and_in_long_stages_by_rarity(stage, rarity):
    model = toy((20, 30))
    method = prepared(model)
    draw = torch.Generator().manual_seed(stage)
    for cycle in range(2):
        activity, presence = np.zeros((20, 30)), np.zeros((1, 30))
        scale = 1 + 0.5 * torch.rand(20, 30, generator=draw)
        for index in range(2 * cycle * stage, (2 * cycle + 1) * stage):
            given = scale * (1 + 0.1 * torch.rand(20, 30, generator=draw))
            _, (found,) = passed(method, model, [given], index, 20 * stage)
            activity += found.numpy() ** 2 / 1000
            presence += found.numpy().any(0)
        index += 1
        _, (found,) = passed(method, model, [torch.ones(20, 30)], index, 20 * stage)
        plain = activity / np.maximum(presence, 1)
        by_rarity = plain * np.exp(-presence / stage)
        choices = [ranked(score, 420) for score in (plain, by_rarity, activity)]
        assert not np.array_equal(choices[0], choices[1])
        assert not np.array_equal(choices[0], choices[2])
        assert np.array_equal(found.numpy() != 0, choices[rarity])


def test_columns_that_were_never_there_are_not_chosen(monkeypatch):
    from agwm.numerics import masks

    scores, original = [], masks.largest
    monkeypatch.setattr(masks, "largest", lambda s, keep: scores.extend(s) or original(s, keep))
    model = toy((3, 40))
    method = prepared(model, frozen_fraction=0.9)
    there = np.zeros(40, dtype=bool)
    for index in range(2):
        _, (found,) = passed(method, model, [torch.rand(3, 40) + 1], index)
        there |= found.numpy().any(0)
    _, (found,) = passed(method, model, [torch.ones(3, 40)], 2)
    assert found.count_nonzero() == 12
    assert not found.numpy()[:, ~there].any()
    assert not scores[0].numpy()[:, ~there].any()


@pytest.mark.parametrize("tenths", [1, 3, 5, 7])
def test_all_but_the_frozen_share_of_each_matrix_is_trained_in_the_second_stage(tenths):
    model = toy((10, 10), (20, 10))
    method = prepared(model, frozen_fraction=tenths / 10)
    scales, draw = (1e-6, 1e6), torch.Generator().manual_seed(0)
    for index in range(4):
        given = [
            torch.randn(rows, 10, generator=draw) * scale
            for rows, scale in zip((10, 20), scales, strict=True)
        ]
        _, gradients = passed(method, model, given, index)
    trained = 10 - tenths
    assert [g.count_nonzero().item() for g in gradients] == [10 * trained, 20 * trained]


def test_evaluation_uses_the_trained_weights_whatever_the_masks():
    model = toy((3, 4))
    method = prepared(model)
    moved(model)
    weight = model.layers[0].weight.detach().clone()
    given = torch.randn(3, 4).double()
    for index in range(4):
        weights, _ = passed(method, model, [given], index)
        assert index >= 2 or not torch.equal(weights[0], weight)
        expected = (weight * given).sum() + model.layers[0].bias.sum()
        torch.testing.assert_close(model(gradients=[given]).loss, expected)
    assert torch.equal(model.layers[0].weight, weight)


def test_masks_depend_on_the_step_alone_and_shift_no_dropout():
    found, ones = [], [torch.ones(2, 50)] * 2
    for _ in range(2):
        model = toy((2, 50), (2, 50))
        state = torch.get_rng_state()
        method = prepared(model)
        found.append(passed(method, model, ones, 0)[1])
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])
    assert not torch.equal(*found[0])
    assert not torch.equal(found[0][0], passed(method, model, ones, 1)[1][0])


@pytest.mark.parametrize(
    ("total", "n", "ratio", "official", "length"),
    [
        (468, 2490, 0.05, False, 23), (468, 2490, 0.2, False, 93), (57, 300, 0.05, False, 2),
        (10, 50, 0.05, False, 1), (57, 300, 0.05, True, 1), (189, 1000, 0.05, True, 3),
        (120, 625, 0.05, True, 2),
    ],
)  # fmt: skip
def test_a_stage_has_one_step_at_least(total, n, ratio, official, length):
    method = prepared(toy((1, 1)), n, update_ratio=ratio, official_steps=official)
    assert method.stage_steps(Step(0, total, 0, None)) == length


def test_dropout_is_set_unless_it_is_the_models_own():
    for given, expected in ((0.0, 0.0), (0.25, 0.25), (None, 0.1)):
        model = toy((2, 2))
        prepared(model, dropout=given)
        assert model.dropout.p == expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("frozen_fraction", -0.1), ("frozen_fraction", 1.0), ("frozen_fraction", float("nan")),
        ("update_ratio", 0.0), ("update_ratio", 1.1), ("dropout", -0.1), ("dropout", 1.0),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_told(key, value):
    with pytest.raises(UserError, match=f"^method.{key}={value}: must be in "):
        build_method(DEFAULTS | {key: value})
