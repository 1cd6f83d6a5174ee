import math

import pytest
import torch
from torch import nn

from agwm.numerics.optim import RunningMean, adamw, clip, decayed, weight_groups
from agwm.numerics.precondition import adam_denominator, tensor_rms
from agwm.numerics.rng import seeded


def test_decay_spares_biases_and_norms():
    model = nn.ModuleDict(
        {"embed": nn.Embedding(3, 4), "dense": nn.Linear(4, 4), "norm": nn.LayerNorm(4)}
    )
    assert decayed(model) == {"embed.weight", "dense.weight"}
    with_decay, without = weight_groups(model, lr=0.1, weight_decay=0.01)
    assert (with_decay["weight_decay"], without["weight_decay"]) == (0.01, 0.0)
    assert with_decay["lr"] == without["lr"] == 0.1
    assert {p.shape for p in without["params"]} == {torch.Size([4])}
    model["embed"].weight.requires_grad_(False)
    assert len(weight_groups(model, 0.1, 0.01)[0]["params"]) == 1


def test_adamw_decouples_decay_and_corrects_its_bias():
    weight = nn.Parameter(torch.tensor([1.0, 1.0], dtype=torch.float64))
    optimizer = adamw([{"params": [weight], "lr": 0.1, "weight_decay": 0.5}])
    weight.grad = torch.tensor([1e-3, -3.0], dtype=torch.float64)
    optimizer.step()
    # Decay by lr * wd, then lr times the sign of the gradient, whatever its size.
    assert weight.tolist() == pytest.approx([0.95 - 0.1, 0.95 + 0.1], abs=1e-5)
    assert optimizer.state[weight]["exp_avg"].tolist() == pytest.approx([1e-4, -0.3])


def test_clipping_passes_over_groups_that_ask_for_it():
    clipped, left = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    optimizer = adamw([{"params": [clipped]}, {"params": [left], "clipped": False}])
    clipped.grad, left.grad = torch.tensor([3.0, 4.0]), torch.tensor([30.0, 40.0])
    assert clip(optimizer, 0.5).item() == pytest.approx(5)
    torch.testing.assert_close(clipped.grad, torch.tensor([0.3, 0.4]))
    assert left.grad.tolist() == [30, 40]


def test_a_mean_of_equal_summands_is_that_summand_and_of_one_the_identity():
    summand = {"w": torch.rand(50, 3), "ids": torch.arange(4)}
    mean = RunningMean()
    for _ in range(5):
        mean.add(summand)
        assert torch.equal(mean.mean["w"], summand["w"])
    assert torch.equal(mean.mean["ids"], summand["ids"])


def test_a_mean_is_a_mean_and_keeps_no_alias():
    mean, parts = RunningMean(), [torch.rand(7) for _ in range(4)]
    for part in parts:
        mean.add({"w": part})
    torch.testing.assert_close(mean.mean["w"], torch.stack(parts).mean(0))
    before = mean.mean["w"].clone()
    parts[0].zero_()
    assert torch.equal(mean.mean["w"], before)


def adam_state(gradients):
    weight = nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = adamw([{"params": [weight], "lr": 0.1}])
    for weight.grad in gradients:
        optimizer.step()
    return optimizer.state[weight]


def test_preconditioners_divide_by_what_adam_divides_by():
    first, second = torch.tensor([3.0, 4.0, 0.0]), torch.tensor([1.0, 2.0, 0.0])
    state, v = adam_state([first, second]), torch.tensor([1.0, -1.0, 1.0])
    moment = 0.999 * 0.001 * first**2 + 0.001 * second**2
    expected = v / ((moment / (1 - 0.999**2)).sqrt() + 1e-8)
    torch.testing.assert_close(adam_denominator(v, state), expected)
    rms = (math.sqrt((0.999 * moment).mean()) + 1e-8) / math.sqrt(1 - 0.999**2)
    torch.testing.assert_close(tensor_rms(v, state), v / rms)
    assert tensor_rms(v, adam_state([torch.zeros(3)])).isfinite().all()
    assert adam_denominator(v, {}) is v and tensor_rms(v, {}) is v


def test_masks_depend_on_the_seed_alone_and_leave_the_stream_alone():
    drop, ones = nn.Dropout(0.5), torch.ones(64)

    def mask(seed):
        with seeded(seed):
            return drop(ones)

    torch.manual_seed(1)
    first, state = mask(5), torch.get_rng_state()
    drop(ones)
    assert torch.equal(first, mask(5))
    assert not torch.equal(first, mask(6))
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)
