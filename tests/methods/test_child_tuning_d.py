from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from agwm.config import Optim
from agwm.errors import UserError
from agwm.method import Step, build_method

DEFAULTS = {
    "_target_": "agwm.methods.child_tuning_d.ChildTuningD",
    "name": "d",
    "child_fraction": 0.5,
    "fisher": "batch",
    "fisher_clip": None,
    "scope": "blocks",
    "mask_decay": False,
}
HEAD = frozenset({"classifier.weight", "classifier.bias"})


def toy(*matrices):
    """Model of one block of the given matrices, and a head."""
    model = nn.Module()
    model.base_model = nn.Module()
    model.base_model.layer = nn.ModuleList([nn.ParameterList(matrices)])
    model.classifier = nn.Linear(2, 2)
    return model.double()


def prepared(model, *batches, **values):
    """Method whose Fisher pass sees the gradients of `batches`, one tensor for each matrix."""

    def gradients(model, phase):
        assert (phase.epochs, phase.streams) == (1, ("fisher",))
        assert phase.batch_size == (1 if values.get("fisher") == "example" else None)
        for batch in batches:
            for parameter, gradient in zip(model.base_model.parameters(), batch, strict=True):
                parameter.grad = torch.tensor(gradient, dtype=parameter.dtype)
            yield
            model.zero_grad()

    method = build_method(DEFAULTS | values)
    method.prepare(model, SimpleNamespace(fresh=HEAD, gradients=gradients))
    return method


def masks(method, model):
    """What is left of gradients of 1, by the names of the parameters."""
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    method.before_step(model, Step(0, 1, 0, None))
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def block_masks(method, model):
    return [m.tolist() for n, m in masks(method, model).items() if n not in HEAD]


@pytest.fixture
def fishers(monkeypatch):
    """The Fisher information from which masks were made."""
    from agwm.numerics import masks

    seen, original = [], masks.largest

    def watched(tensors, keep):
        seen.append([tensor.tolist() for tensor in tensors])
        return original(tensors, keep)

    monkeypatch.setattr(masks, "largest", watched)
    return seen


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.3, 0.5, 0.7, 1.0])
def test_the_child_is_what_reaches_the_percentile_over_all_blocks_together(fraction):
    draw = np.random.default_rng(0)
    parts = [draw.normal(scale=1.0, size=(7, 5)), draw.normal(scale=2.0, size=65)]
    model = toy(torch.zeros(7, 5), torch.zeros(65))
    method = prepared(model, parts, child_fraction=fraction)
    squared = np.concatenate([part.ravel() for part in parts]) ** 2
    expected = squared >= np.percentile(squared, 100 * (1 - fraction))
    found = np.concatenate([np.ravel(mask) for mask in block_masks(method, model)])
    assert np.array_equal(found, expected)
    assert abs(found.sum() - 100 * fraction) <= 1


def test_an_entry_that_lies_on_the_percentile_is_in_the_child():
    for tenths in range(11):
        model = toy(torch.zeros(101))
        method = prepared(model, [[float(i) for i in range(101)]], child_fraction=tenths / 10)
        assert block_masks(method, model) == [[i >= 100 - 10 * tenths for i in range(101)]]


def test_the_fisher_information_is_the_mean_of_the_squared_batch_gradients(fishers):
    model = toy(torch.zeros(2))
    method = prepared(model, [[1.0, 0.0]], [[0.0, 2.0]])
    assert fishers == [[[0.5, 2.0]]]
    assert block_masks(method, model) == [[0, 1]]


def test_each_batch_is_clipped_before_it_is_squared(fishers):
    prepared(toy(torch.zeros(2)), [[1.0, 0.0]], [[0.0, 2.0]], fisher_clip=1.0)
    assert fishers[0][0] == pytest.approx([0.5, 0.5], abs=1e-5)


def test_of_equal_fisher_information_both_are_kept():
    model = toy(torch.zeros(2))
    method = prepared(model, [[2.0, 0.0]], [[0.0, 2.0]], fisher_clip=1.0)
    assert block_masks(method, model) == [[1, 1]]


def test_clipping_takes_each_tensor_by_itself_and_so_changes_their_order():
    gradients = [[0.9], [3.0, 3.0, 3.0, 3.0]]
    for clip, expected in ((None, [[0], [1, 1, 1, 1]]), (1.0, [[1], [0, 0, 0, 0]])):
        model = toy(torch.zeros(1), torch.zeros(4))
        method = prepared(model, gradients, fisher_clip=clip, child_fraction=0.2)
        assert block_masks(method, model) == expected


def test_the_fisher_of_examples_asks_for_batches_of_one_and_keeps_what_cancels():
    model = toy(torch.zeros(2))
    method = prepared(model, [[3.0, 1.0]], [[-3.0, 1.0]], fisher="example")
    assert block_masks(method, model) == [[1, 0]]


@pytest.mark.parametrize(("fisher", "passes"), [("batch", 3), ("example", 40)])
def test_the_pass_before_costs_one_batch_or_one_example_at_a_time(tiny_run, fisher, passes):
    record, _ = tiny_run("method=child_tuning_d", f"method.fisher={fisher}")
    assert record.cost.forward_passes == record.cost.backward_passes == passes + 3
    assert record.cost.optimizer_steps == 3
    assert [phase["steps"] for phase in record.phases] == [passes, 3]


@pytest.mark.parametrize("mask_decay", [False, True])
def test_decay_shrinks_what_is_masked_unless_that_is_masked_too(mask_decay):
    model = toy(torch.ones(2))
    method = prepared(model, [[0.0, 1.0]], mask_decay=mask_decay)
    optim = Optim(lr=0.01, epochs=1, batch_size=1, warmup_ratio=0.0, weight_decay=0.01)
    optimizer = method.build_optimizer(method.parameter_groups(model, optim))
    for index in range(10):
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        step = Step(index, 10, index, optimizer)
        method.before_step(model, step)
        optimizer.step()
        method.after_step(model, step)
    still, child = model.base_model.layer[0][0].tolist()
    assert still == 1 if mask_decay else still == pytest.approx(0.9990004499, abs=1e-10)
    # Ten steps of Adam at a constant gradient, each after its decay.
    assert child == pytest.approx(0.9990004499 - 0.01 * sum(0.9999**k for k in range(10)), abs=1e-7)
    state = optimizer.state[model.base_model.layer[0][0]]
    assert state["exp_avg"][0] == state["exp_avg_sq"][0] == 0


@pytest.mark.parametrize("scope", ["blocks", "all"])
def test_only_the_blocks_are_masked_or_all_but_the_head(scope):
    config = BertConfig(
        vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=8, max_position_embeddings=8,
    )  # fmt: skip
    model = BertForSequenceClassification(config)

    def gradients(model, phase, batch_size=None):
        generator = torch.Generator().manual_seed(0)
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        yield
        model.zero_grad()

    method = build_method(DEFAULTS | {"scope": scope, "child_fraction": 0.1})
    method.prepare(model, SimpleNamespace(fresh=HEAD, gradients=gradients))
    found = masks(method, model)
    inside = {n for n in found if scope == "all" or ".encoder.layer." in n} - HEAD
    assert all((found[name] == 1).all() for name in found.keys() - inside)
    assert any(name.endswith("LayerNorm.bias") for name in inside)
    shares = torch.cat([found[name].flatten() for name in inside])
    assert abs(shares.sum() - 0.1 * len(shares)) <= 1
    assert all((found[name] == 0).any() for name in inside)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("child_fraction", -0.1), ("child_fraction", 1.5), ("child_fraction", float("nan")),
        ("fisher_clip", 0.0), ("fisher_clip", -1.0), ("fisher", "samples"), ("scope", "head"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_told(key, value):
    with pytest.raises(UserError, match=f"^method.{key}={value}: must be "):
        build_method(DEFAULTS | {key: value})
