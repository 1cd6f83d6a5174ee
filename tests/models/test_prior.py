import pytest
import torch
from families import FAMILIES
from torch import nn

from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.pretrained import load_pretrained
from agwm.models.prior import start_at_prior
from agwm.training.runner import LightningRunner

NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
THREE = Task("mnli", ["premise", "hypothesis"], ["e", "n", "c"], ["accuracy"], ["validation"])
HEAD = {"dense.weight", "dense.bias", "out.weight", "out.bias"}


def two_layers(outputs, bias=True):
    torch.manual_seed(0)
    model = nn.Module()
    model.base_model_prefix = "body"
    model.dense = nn.Linear(4, 4)
    model.out = nn.Linear(4, outputs, bias=bias)
    return model


def slope(bias, labels):
    """Gradient of the mean loss over `labels` of the constant answer `bias`."""
    bias = bias.detach().double().requires_grad_()
    answers = bias.expand(len(labels), -1)
    if len(bias) == 1:
        loss = nn.functional.mse_loss(answers[:, 0], torch.tensor(labels, dtype=torch.double))
    else:
        loss = nn.functional.cross_entropy(answers, torch.tensor(labels))
    loss.backward()
    return bias.grad.abs().max()


def test_of_constant_answers_the_mean_has_the_least_squared_error():
    model, labels = two_layers(1), [0.5, 3.0, 4.75, 2.25, 5.0]
    start_at_prior(model, HEAD, labels, 0)
    assert model.out.bias.item() == pytest.approx(3.1)
    assert slope(model.out.bias, labels) < 1e-6


def test_of_constant_answers_the_shares_have_the_least_cross_entropy():
    model, labels = two_layers(3), [0, 0, 2, 0, 0, 2]
    start_at_prior(model, HEAD, labels, 3)
    torch.testing.assert_close(model.out.bias.softmax(0), torch.tensor([5 / 9, 1 / 9, 3 / 9]))
    # With each class once more, as the shares count them.
    assert slope(model.out.bias, [*labels, 0, 1, 2]) < 1e-6


def test_nothing_but_the_last_bias_is_changed():
    model, drawn = two_layers(1), two_layers(1)
    start_at_prior(model, HEAD, [2.0, 4.0], 0)
    changed = {
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, drawn.state_dict()[name])
    }
    assert changed == {"out.bias"}


@pytest.mark.parametrize("fresh", [set(), {"dense.weight", "dense.bias"}])
def test_a_trained_head_is_told(fresh):
    model, before = two_layers(1), two_layers(1)
    with pytest.raises(UserError, match=r"output_bias=prior: out comes with the checkpoint"):
        start_at_prior(model, fresh, [2.0, 4.0], 0)
    assert torch.equal(model.dense.bias, before.dense.bias)


def test_a_last_layer_without_a_bias_is_told():
    with pytest.raises(UserError, match=r"output_bias=prior: out of this model has no bias"):
        start_at_prior(two_layers(1, bias=False), HEAD, [2.0, 4.0], 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_of_every_family_the_logits_move_by_the_prior(family):
    """Whatever the head is called: with the same weights, the outputs differ by it alone."""
    tokens = {"input_ids": torch.tensor([[5, 9, 7, 3]]), "attention_mask": torch.ones(1, 4)}
    for task, labels, prior in (
        (NUMBER, [1.0, 2.0, 6.0], [3.0]),
        (THREE, [0, 1, 1, 2, 2], [2 / 8, 3 / 8, 3 / 8]),
    ):
        logits = []
        for output_bias in (None, "prior"):
            source = Model("tiny", config=FAMILIES[family], output_bias=output_bias)
            model = load_pretrained(source, task, 0, labels).model.eval()
            with torch.inference_mode():
                logits.append(model(**tokens).logits[0])
        moved = logits[1] - logits[0]
        expected = torch.tensor(prior) if task is NUMBER else torch.tensor(prior).log()
        torch.testing.assert_close(moved, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "method",
    [("model_soup", "method.members=2"), ("lora",), ("agwm", "method.num_searches=1")],
    ids=lambda method: method[0],
)
def test_every_head_of_a_run_starts_there(method, tiny_run, monkeypatch):
    starts = []

    def watched(name):
        fit = getattr(LightningRunner, name)

        def first_seen(runner, model, *rest):
            shares = [runner.labels.count(code) + 1 for code in range(runner.classes)]
            biases = {
                key: tensor.softmax(0).tolist()
                for key, tensor in model.state_dict().items()
                if "classifier" in key and key.endswith("bias")
            }
            starts.append((biases, [share / sum(shares) for share in shares]))
            fit(runner, model, *rest)

        monkeypatch.setattr(LightningRunner, name, first_seen)

    watched("finetune")
    watched("search")
    name, *options = method
    tiny_run(f"method={name}", *options, "n_train=33", "model.output_bias=prior")
    assert len(starts) == (1 if name == "lora" else 2)
    # The fine-tuning of agwm goes on from the head that its search has learned.
    for biases, shares in starts[: 1 if name == "agwm" else None]:
        assert biases
        assert shares[0] != pytest.approx(0.5)
        assert all(bias == pytest.approx(shares) for bias in biases.values())
