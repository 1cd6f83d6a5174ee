from copy import deepcopy
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from agwm.method import build_method
from agwm.training.runner import LightningRunner


def soup_of(models):
    """What the method makes of members that training has turned into `models`."""
    trained = iter(models)
    runner = SimpleNamespace(
        pretrained=lambda *head: deepcopy(models[0]),
        finetune=lambda model, method, phase: model.load_state_dict(next(trained).state_dict()),
    )
    target = "agwm.methods.model_soup.ModelSoup"
    values = {"members": len(models), "shared_head": False}
    return build_method({"_target_": target, "name": "model_soup", **values}).run(runner)


def member(seed):
    torch.manual_seed(seed)
    model = nn.Linear(4, 3)
    model.register_buffer("positions", torch.arange(3) + seed)
    return model


@pytest.fixture
def members(monkeypatch):
    """Start and end of each member's fit."""
    seen = {"start": [], "end": []}
    finetune = LightningRunner.finetune

    def watched(runner, model, method, phase):
        seen["start"].append(deepcopy(model.state_dict()))
        finetune(runner, model, method, phase)
        seen["end"].append(deepcopy(model.state_dict()))

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    return seen


def test_a_soup_of_equal_models_is_the_model():
    model = member(3)
    soup = soup_of([model] * 5)
    torch.testing.assert_close(soup.state_dict(), model.state_dict(), rtol=0, atol=1e-7)


def test_a_soup_of_linear_models_gives_their_mean_output():
    models = [member(seed) for seed in range(5)]
    inputs = torch.randn(7, 4)
    expected = torch.stack([model(inputs) for model in models]).mean(0)
    torch.testing.assert_close(soup_of(models)(inputs), expected)


def test_whole_numbers_are_copied_from_the_first_member():
    assert soup_of([member(2), member(5), member(9)]).positions.tolist() == [2, 3, 4]


@pytest.mark.parametrize("shared", [False, True])
def test_members_share_the_body_and_differ_in_order_and_unless_shared_in_the_head(
    tiny_run, members, shared
):
    record, folder = tiny_run(
        "method=model_soup", "method.members=3", f"method.shared_head={shared}"
    )
    first, *others = members["start"]
    for other in others:
        for name, tensor in first.items():
            drawn = name == "classifier.weight" and not shared
            assert torch.equal(tensor, other[name]) != drawn, name
    ends = members["end"]
    word = "bert.embeddings.word_embeddings.weight"
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(ends[one][word], ends[other][word])
    found = load_file(folder / "model" / "model.safetensors")
    for name, tensor in found.items():
        expected = sum(end[name].double() for end in ends) / 3
        torch.testing.assert_close(tensor.double(), expected, rtol=0, atol=1e-7, msg=name)
    assert record.cost.optimizer_steps == 3 * 3


def test_the_first_member_is_the_vanilla_run(tiny_run, members):
    tiny_run("method=model_soup", "method.members=2")
    _, folder = tiny_run("method=vanilla")
    expected = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(members["end"][0][name], tensor) for name, tensor in expected.items())
