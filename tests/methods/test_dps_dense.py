from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agwm.errors import UserError
from agwm.method import Step, build_method
from agwm.numerics.optim import adamw

DEFAULTS = {
    "_target_": "agwm.methods.dps_dense.DPSDense",
    "name": "dense",
    "frozen_fraction": 0.3,
    "update_ratio": 0.05,
    "dropout": 0.0,
    "official_steps": False,
    "freeze_hard": False,
}


def toy(*sizes):
    """Linear layers, dropout, and a loss whose gradients are the tensors of the batch."""
    model = nn.Module()
    model.layers = nn.ModuleList([nn.Linear(columns, rows) for rows, columns in sizes])
    model.dropout = nn.Dropout(0.1)

    def forward(**gradients):
        parameters = dict(model.named_parameters())
        loss = sum((parameters[n.replace("_", ".")] * g).sum() for n, g in gradients.items())
        return SimpleNamespace(loss=loss)

    model.forward = forward
    return model.double()


def batch(*weights, bias=1.0):
    """Gradients of the layers' weights, and of their biases."""
    found = {}
    for index, weight in enumerate(weights):
        found[f"layers_{index}_weight"] = torch.as_tensor(weight, dtype=torch.float64)
        found[f"layers_{index}_bias"] = torch.tensor(bias, dtype=torch.float64)
    return found


def prepared(model, n=300, **values):
    method = build_method(DEFAULTS | values)
    # The fresh head is masked like any other matrix.
    fresh = frozenset({"layers.1.weight", "layers.1.bias"})
    runner = SimpleNamespace(labels=[0] * n, optim=SimpleNamespace(batch_size=16), fresh=fresh)
    assert method.prepare(model, runner) is model
    return method


def gradient(method, model, given, index, total=40, optimizer=None):
    """Weight gradients after the backward of step `index`."""
    model.zero_grad()
    step = Step(index, total, index, optimizer)
    method.backward(model, given, step, lambda loss: loss.backward())
    return [layer.weight.grad for layer in model.layers]


@pytest.fixture
def activities(monkeypatch):
    """The sums of squared gradients from which masks were made."""
    from agwm.numerics import masks

    seen, original = [], masks.largest

    def watched(tensors, keep):
        seen.append([tensor.tolist() for tensor in tensors])
        return original(tensors, keep)

    monkeypatch.setattr(masks, "largest", watched)
    return seen


def test_the_second_stage_of_each_cycle_trains_seven_tenths():
    model = toy((10, 10))
    method = prepared(model)
    draw = torch.Generator().manual_seed(0)
    shares = []
    for index in range(8):
        given = batch(torch.randn(10, 10, generator=draw))
        (found,) = gradient(method, model, given, index)
        shares.append(found.count_nonzero().item() / 100)
        kept = found != 0
        assert torch.equal(found[kept], given["layers_0_weight"][kept])
        assert (model.layers[0].bias.grad == 1).all()
    assert shares == [1, 1, 0.7, 0.7, 1, 1, 0.7, 0.7]


def test_the_activity_is_the_sum_of_squares_over_a_thousand_and_starts_anew_each_cycle(activities):
    model = toy((1, 2))
    method = prepared(model, frozen_fraction=0.5)
    for index, size in enumerate([1, 2, 100, 100, 3, 1, 7, 7]):
        gradient(method, model, batch([[size, 0.0]]), index)
    assert activities == [[[pytest.approx([0.005, 0])]], [[pytest.approx([0.010, 0])]]]


def test_the_mask_stays_as_it_was_at_the_start_of_its_stage_and_follows_the_cycle():
    model = toy((1, 3))
    method = prepared(model, frozen_fraction=0.5)
    first, other, ones = [[9.0, 5.0, 1.0]], [[1.0, 5.0, 2.0]], [[1.0, 1.0, 1.0]]
    given = [first, first, other, ones, other, ones, ones, first]
    found = [gradient(method, model, batch(g), i)[0].tolist()[0] for i, g in enumerate(given)]
    # Two of three are kept: ceil(3 * 0.5).
    assert found[2:4] == [[1, 5, 0], [1, 1, 0]]
    assert found[6:] == [[0, 1, 1], [0, 5, 1]]


@pytest.mark.parametrize("tenths", [0, 1, 3, 5, 7, 9])
def test_the_share_of_a_matrix_that_is_frozen_is_exact(tenths):
    model = toy((10, 10))
    method = prepared(model, frozen_fraction=tenths / 10)
    given = batch(torch.arange(1.0, 101.0).view(10, 10))
    for index in range(3):
        (found,) = gradient(method, model, given, index)
    assert torch.equal(found != 0, given["layers_0_weight"] > 10 * tenths)


def test_each_matrix_is_ranked_by_itself():
    model = toy((5, 4), (10, 2))
    method = prepared(model)
    draw = torch.Generator().manual_seed(0)
    given = batch(
        torch.randn(5, 4, generator=draw) * 1e-6, torch.randn(10, 2, generator=draw) * 1e6
    )
    for index in range(3):
        found = gradient(method, model, given, index)
    for name, kept in zip(("layers_0_weight", "layers_1_weight"), found, strict=True):
        largest = given[name].abs().flatten().topk(14).values.min()
        assert torch.equal(kept != 0, given[name].abs() >= largest)


def test_an_update_ratio_of_one_is_vanilla_without_dropout(tiny_run):
    from safetensors.torch import load_file

    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob")
    _, vanilla = tiny_run("method=vanilla", *(f"+model.config.{rate}=0.0" for rate in rates))
    _, dense = tiny_run("method=dps_dense", "method.update_ratio=1", "method.frozen_fraction=0.5")
    expected = load_file(vanilla / "model" / "model.safetensors")
    found = load_file(dense / "model" / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_dropout_is_set_unless_it_is_the_models_own():
    for given, expected in ((0.0, 0.0), (0.25, 0.25), (None, 0.1)):
        model = toy((2, 2))
        prepared(model, dropout=given)
        assert model.dropout.p == expected


@pytest.mark.parametrize(
    ("total", "n", "ratio", "official", "length"),
    [
        (468, 2490, 0.05, False, 23), (468, 2490, 0.1, False, 46), (468, 2490, 0.2, False, 93),
        (1605, 8551, 0.05, False, 80), (1605, 8551, 0.1, False, 160),
        (1605, 8551, 0.2, False, 321), (57, 300, 0.05, False, 2), (10, 50, 0.05, False, 1),
        (57, 300, 0.05, True, 1), (96, 500, 0.05, True, 1), (189, 1000, 0.05, True, 3),
        (120, 625, 0.05, True, 2),
    ],
)  # fmt: skip
def test_a_stage_has_one_step_at_least(total, n, ratio, official, length):
    method = prepared(toy((1, 1)), n, update_ratio=ratio, official_steps=official)
    found = [method.position(Step(i, total, 0, None)) for i in range(min(total, 4 * length))]
    stages = [index // length % 2 == 1 for index in range(len(found))]
    starts = [index % length == 0 for index in range(len(found))]
    assert found == list(zip(stages, starts, strict=True))


def trajectory(**values):
    """Weights after each of six steps in stages of two, gradients 2 and 1, decay 0.1."""
    model = toy((1, 2))
    nn.init.ones_(model.layers[0].weight)
    optimizer = adamw([{"params": list(model.parameters()), "lr": 0.01, "weight_decay": 0.1}])
    method = prepared(model, frozen_fraction=0.5, **values)
    weights = []
    for index in range(6):
        gradient(method, model, batch([[2.0, 1.0]]), index, optimizer=optimizer)
        step = Step(index, 40, index, optimizer)
        method.before_step(model, step)
        optimizer.step()
        method.after_step(model, step)
        weights.append(model.layers[0].weight.flatten().tolist())
    return weights


def test_frozen_entries_move_by_their_momentum_and_by_decay():
    frozen = [weights[1] for weights in trajectory()]
    weight = 1.0
    first = second = 0.0
    for index, entry in enumerate([1.0, 1.0, 0.0, 0.0, 1.0, 1.0]):
        first, second = 0.9 * first + 0.1 * entry, 0.999 * second + 0.001 * entry**2
        mean, square = first / (1 - 0.9 ** (index + 1)), second / (1 - 0.999 ** (index + 1))
        weight = weight * (1 - 0.01 * 0.1) - 0.01 * mean / (square**0.5 + 1e-8)
        assert frozen[index] == pytest.approx(weight, abs=1e-12)


def test_frozen_hard_they_stay_and_the_others_move_as_before():
    soft, hard = trajectory(), trajectory(freeze_hard=True)
    assert [weights[0] for weights in hard] == [weights[0] for weights in soft]
    still = [weights[1] for weights in hard]
    assert still[1] == still[2] == still[3]
    assert still[0] > still[1] and still[3] > still[4] > still[5]


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
