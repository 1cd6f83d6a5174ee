import pytest
import torch
from torch import nn

from agwm.errors import UserError
from agwm.method import Step, build_method
from agwm.numerics.optim import adamw


def method(child_fraction):
    target = "agwm.methods.child_tuning_f.ChildTuningF"
    return build_method({"_target_": target, "name": "f", "child_fraction": child_fraction})


def masked(model, seed, child_fraction=0.3, gradient=1.0):
    """Gradients of `model` after the hook, where all were `gradient` before."""
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, gradient)
    method(child_fraction).before_step(model, Step(0, 1, seed, None))
    return [parameter.grad for parameter in model.parameters()]


def test_a_gradient_is_kept_with_its_probability_and_divided_by_it():
    (kept,) = masked(nn.Linear(1000, 1000, bias=False), seed=0)
    assert kept.mean().item() == pytest.approx(1, abs=0.005)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.3])


def test_the_sign_and_size_of_a_kept_gradient_stay():
    (kept,) = masked(nn.Linear(50, 50, bias=False), seed=0, child_fraction=0.5, gradient=-3.0)
    assert kept.unique().tolist() == [-6, 0]


def test_every_parameter_has_a_mask_of_its_own_embeddings_norms_biases_and_head_too():
    parts = {
        "embed": nn.Embedding(40, 40),
        "norm": nn.LayerNorm(1600),
        "classifier": nn.Linear(1600, 1),
    }
    kept = [gradient.flatten() for gradient in masked(nn.ModuleDict(parts), seed=0)]
    long = [gradient > 0 for gradient in kept if len(gradient) == 1600]
    assert len(long) == 4
    for index, mask in enumerate(long):
        assert 0.25 < mask.float().mean() < 0.35
        # Independent masks of p = 0.3 differ in 2 p (1 - p) = 0.42 of the entries.
        assert all(0.36 < (mask ^ other).float().mean() < 0.48 for other in long[:index])
    biases = [masked(nn.Linear(1, 1), seed)[1].item() for seed in range(60)]
    assert sorted(set(biases)) == pytest.approx([0, 1 / 0.3])


def test_the_mask_is_new_in_every_step_and_the_same_for_the_same_step():
    layer = nn.Linear(30, 30)
    first, again, other = (masked(layer, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_what_is_drawn_for_the_mask_shifts_no_dropout():
    layer = nn.Linear(30, 30)
    state = torch.get_rng_state()
    masked(layer, seed=1)
    assert torch.equal(torch.get_rng_state(), state)


def test_parameters_without_a_gradient_are_left_without():
    layer = nn.Linear(3, 3)
    layer.weight.grad = torch.ones(3, 3)
    method(0.3).before_step(layer, Step(0, 1, 0, None))
    assert layer.bias.grad is None


def test_an_entry_masked_after_its_first_step_still_moves_by_its_momentum():
    layer = nn.Linear(40, 40, bias=False).double()
    nn.init.zeros_(layer.weight)
    optimizer = adamw([{"params": [layer.weight], "lr": 1e-3, "weight_decay": 0.0}])
    kept, weights = [], []
    for seed in range(3):
        (gradient,) = masked(layer, seed)
        kept.append(gradient > 0)
        optimizer.step()
        weights.append(layer.weight.detach().clone())
    once = kept[0] & ~kept[1] & ~kept[2]
    assert once.any()
    for weight, printed in zip(weights, [-1.00000e-3, -1.67006e-3, -2.18802e-3], strict=True):
        torch.testing.assert_close(
            weight[once], torch.full_like(weight[once], printed), atol=5e-9, rtol=0
        )
    never = ~(kept[0] | kept[1] | kept[2])
    assert never.any() and not weights[-1][never].any()


@pytest.mark.parametrize("value", [0.0, -0.1, 1.1, float("nan")])
def test_a_fraction_out_of_range_is_told(value):
    with pytest.raises(UserError, match=r"^method.child_fraction=.*in \(0, 1\]"):
        method(value)
