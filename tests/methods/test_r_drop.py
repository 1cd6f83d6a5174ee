import math

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy, kl_div, mse_loss
from transformers import BertConfig, BertForSequenceClassification
from transformers.modeling_outputs import SequenceClassifierOutput

from agwm.method import Step, build_method
from agwm.numerics.rng import seeded

NO_DROPOUT = ("+model.config.hidden_dropout_prob=0", "+model.config.attention_probs_dropout_prob=0")
STEP = Step(0, 10, 0, None)
ONE, OTHER = [[1.0, 0.0]], [[0.0, 1.0]]


class InTurn(nn.Module):
    """Gives the next of `logits` at each pass."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = iter(logits)

    def forward(self, labels):
        logits = next(self.logits)
        regression = logits.shape[-1] == 1
        loss = mse_loss(logits[:, 0], labels) if regression else cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


def r_drop(weight=1.0, kl_reduction="mean", ce="sum"):
    target = "agwm.methods.r_drop.RDrop"
    values = {"weight": weight, "kl_reduction": kl_reduction, "ce": ce}
    return build_method({"_target_": target, "name": "r_drop", **values})


def loss(method, one, other, labels):
    model = InTurn(torch.as_tensor(one), torch.as_tensor(other))
    return method.loss(model, {"labels": torch.as_tensor(labels)}, STEP)


def bert(dropout):
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=32, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, num_labels=3, hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
        )
    ).train()  # fmt: skip


@pytest.fixture
def batch():
    ids = torch.randint(32, (6, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": torch.arange(6) % 3}


@pytest.mark.parametrize(("ce", "share"), [("sum", 1.0), ("mean", 0.5)])
def test_opposite_logits_give_both_losses_and_half_the_two_divergences(ce, share):
    losses = math.log1p(math.exp(-1)) + math.log1p(math.exp(1))
    found = loss(r_drop(weight=3.0, ce=ce), ONE, OTHER, [0]).item()
    assert found == pytest.approx(share * losses + 3 * 0.4621172, abs=1e-6)


def test_without_dropout_the_loss_is_twice_the_cross_entropy(batch):
    model = bert(dropout=0.0)
    plain = model(**batch).loss
    assert torch.equal(r_drop(weight=1e6).loss(model, batch, STEP), 2 * plain)
    assert torch.equal(r_drop(weight=1e6, ce="mean").loss(model, batch, STEP), plain)


def test_the_two_passes_have_masks_of_their_own(batch):
    model, losses = bert(dropout=0.1), []
    for weight in (0.0, 1.0):
        with seeded(3), torch.no_grad():
            losses.append(r_drop(weight=weight).loss(model, batch, STEP))
    assert losses[1] > losses[0]


def test_swapping_the_passes_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    labels = [0, 1, 2, 0, 1]
    method = r_drop(weight=2.0)
    torch.testing.assert_close(loss(method, one, other, labels), loss(method, other, one, labels))
    assert not torch.equal(
        loss(method, one, other, labels) - loss(r_drop(weight=0.0), one, other, labels),
        torch.zeros((), dtype=torch.float64),
    )


def test_duplicating_the_batch_leaves_the_mean_and_doubles_the_sum_over_it():
    one, other = torch.tensor([[1.0, 0.0], [0.0, 3.0]]), torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    for reduction, factor in (("mean", 1), ("sum", 2)):
        with_kl, without = (r_drop(weight=w, kl_reduction=reduction) for w in (1.0, 0.0))

        def divergence(*logits, labels, methods=(with_kl, without)):
            return loss(methods[0], *logits, labels) - loss(methods[1], *logits, labels)

        single = divergence(one, other, labels=[0, 1])
        twice = divergence(one.repeat(2, 1), other.repeat(2, 1), labels=[0, 1, 0, 1])
        torch.testing.assert_close(twice, factor * single)
    # The sum over two rows is twice their mean.
    mean, total = (
        r_drop(kl_reduction=how).disagreement(one, other).item() for how in ("mean", "sum")
    )
    assert total == pytest.approx(2 * mean) and mean > 0


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradients_go_through_both_passes(reduction):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    one, other = (part.clone().requires_grad_() for part in logits)
    labels = torch.tensor([0, 1, 2, 0, 1])
    total = loss(r_drop(weight=0.7, kl_reduction=reduction), one, other, labels)
    found = torch.autograd.grad(total, [one, other])
    p, q = one.log_softmax(-1), other.log_softmax(-1)
    options = {"log_target": True, "reduction": "batchmean" if reduction == "mean" else "sum"}
    divergence = kl_div(p, q, **options) + kl_div(q, p, **options)
    expected = cross_entropy(one, labels) + cross_entropy(other, labels) + 0.7 * divergence / 2
    torch.testing.assert_close(total, expected, rtol=1e-6, atol=0)
    for mine, oracle in zip(found, torch.autograd.grad(expected, [one, other]), strict=True):
        torch.testing.assert_close(mine, oracle, rtol=1e-5, atol=1e-6)


def test_half_precision_logits_are_compared_in_single_precision():
    one, other = (torch.tensor([[x, 0.0]]).bfloat16() for x in (1.0, 1.0078125))
    exact = r_drop().disagreement(one.float(), other.float()).item()
    assert exact > 0
    assert r_drop().disagreement(one, other).item() == pytest.approx(exact, rel=1e-3)


@pytest.mark.parametrize(("ce", "errors"), [("sum", 5.0 + 2.0), ("mean", 3.5)])
def test_regression_adds_the_squared_distance_of_the_two_outputs(ce, errors):
    # Squared errors 1, 9 and 4, 0; the outputs are 1 and 3 apart.
    found = loss(r_drop(weight=0.5, ce=ce), [[1.0], [5.0]], [[2.0], [2.0]], [0.0, 2.0])
    assert found.item() == pytest.approx(errors + 0.5 * (1 + 9) / 2)


def test_without_dropout_and_weight_the_mean_of_both_losses_is_vanilla(tiny_run):
    vanilla, folder = tiny_run("method=vanilla", *NO_DROPOUT)
    record, other = tiny_run(
        "method=r_drop", "method.weight=0", "method.ce=mean", *NO_DROPOUT, "sweep=other"
    )
    expected = load_file(folder / "model" / "model.safetensors")
    found = load_file(other / "model" / "model.safetensors")
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    assert record.cost.forward_passes == 2 * vanilla.cost.forward_passes
