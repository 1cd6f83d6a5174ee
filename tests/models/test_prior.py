import pytest
import torch
from torch import nn

from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.pretrained import load_pretrained
from agwm.models.prior import start_at_prior
from agwm.training.runner import LightningRunner

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 128,
    "max_position_embeddings": 128,
}
NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
THREE = Task("mnli", ["premise", "hypothesis"], ["e", "n", "c"], ["accuracy"], ["validation"])
HEAD = {"dense.weight", "dense.bias", "out.weight", "out.bias"}


def two_layers(outputs, bias=True):
    torch.manual_seed(0)
    model = nn.Module()
    model.dense = nn.Linear(4, 4)
    model.out = nn.Linear(4, outputs, bias=bias)
    return model


def constant_loss(bias, labels):
    bias = bias.detach().double().requires_grad_()
    answers = bias.expand(len(labels), -1)
    if len(bias) == 1:
        loss = nn.functional.mse_loss(answers[:, 0], torch.tensor(labels, dtype=torch.double))
    else:
        loss = nn.functional.cross_entropy(answers, torch.tensor(labels))
    loss.backward()
    return bias.grad


def test_of_constant_answers_the_mean_has_the_least_squared_error():
    model, labels = two_layers(1), [0.5, 3.0, 4.75, 2.25, 5.0]
    start_at_prior(model, HEAD, labels, 0)
    assert model.out.bias.item() == pytest.approx(3.1)
    assert constant_loss(model.out.bias, labels).abs().max() < 1e-6


def test_of_constant_answers_the_shares_have_the_least_cross_entropy():
    model, labels = two_layers(3), [0, 0, 2, 0, 0, 2]
    start_at_prior(model, HEAD, labels, 3)
    shares = torch.tensor([5 / 9, 1 / 9, 3 / 9])
    torch.testing.assert_close(model.out.bias.softmax(0), shares)
    # With each class once more, as the shares count them.
    assert constant_loss(model.out.bias, [*labels, 0, 1, 2]).abs().max() < 1e-6


def test_nothing_but_the_last_bias_is_changed():
    model, drawn = two_layers(1), two_layers(1)
    start_at_prior(model, HEAD, [2.0, 4.0], 0)
    changed = {
        name
        for name, tensor in model.state_dict().items()
        if not torch.equal(tensor, drawn.state_dict()[name])
    }
    assert changed == {"out.bias"}


def test_a_trained_head_keeps_its_bias():
    model, before = two_layers(1), two_layers(1)
    start_at_prior(model, set(), [2.0, 4.0], 0)
    assert torch.equal(model.out.bias, before.out.bias)


def test_a_last_layer_without_a_bias_is_told():
    with pytest.raises(UserError, match=r"output_bias=prior: out of this model has no bias"):
        start_at_prior(two_layers(1, bias=False), HEAD, [2.0, 4.0], 0)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [("bert", "classifier"), ("roberta", "classifier.out_proj"), ("xlnet", "logits_proj")],
)
def test_it_finds_the_last_layer_of_each_architecture(kind, layer):
    config = {**BERT, "model_type": kind}
    if kind == "xlnet":
        config = {"model_type": kind, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
        config["vocab_size"] = 128
    source = Model("tiny", config=config, output_bias="prior")
    number = load_pretrained(source, NUMBER, 0, [1.0, 2.0, 6.0]).model
    assert number.get_submodule(layer).bias.item() == 3
    three = load_pretrained(source, THREE, 0, [0, 1, 1, 2, 2]).model
    shares = three.get_submodule(layer).bias.softmax(0)
    torch.testing.assert_close(shares, torch.tensor([2 / 8, 3 / 8, 3 / 8]))


def test_every_head_of_a_run_starts_there(tiny_run, monkeypatch):
    starts = []
    finetune = LightningRunner.finetune

    def watched(runner, model, method, phase):
        shares = [runner.labels.count(code) + 1 for code in range(runner.classes)]
        starts.append((model.classifier.bias.softmax(0).tolist(), shares))
        finetune(runner, model, method, phase)

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    tiny_run("method=model_soup", "method.members=2", "n_train=33", "model.output_bias=prior")
    assert len(starts) == 2
    for bias, counts in starts:
        assert bias == pytest.approx([count / sum(counts) for count in counts])
        assert bias[0] != pytest.approx(0.5)
