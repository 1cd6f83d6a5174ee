import itertools
import json

import numpy as np
import pytest
import torch
from families import FAMILIES
from torch import nn

from agwm.config import Model, Task
from agwm.data.datamodule import GlueDataModule
from agwm.data.own import settled
from agwm.errors import UserError
from agwm.models.pretrained import load_pretrained
from agwm.models.scale import rescale, start_in_units

NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
TOKENS = {"input_ids": torch.tensor([[5, 9, 7, 3]]), "attention_mask": torch.ones(1, 4)}


def output(model):
    with torch.inference_mode():
        return model.eval()(**TOKENS).logits[0].double()


@pytest.mark.parametrize("family", FAMILIES)
def test_of_every_family_the_output_gets_the_unit_of_the_labels(family):
    model = load_pretrained(Model("tiny", config=FAMILIES[family]), NUMBER, 0).model
    before = output(model)
    rescale(model, 60.0, 25.0)
    torch.testing.assert_close(output(model), 25 * before + 60, rtol=0, atol=1e-4)


def test_a_head_of_the_checkpoint_goes_on_where_it_was(tmp_path):
    first = load_pretrained(Model("tiny", config=FAMILIES["bert"]), NUMBER, 0)
    rescale(first.model, 60.0, 25.0)
    first.model.save_pretrained(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    task = Task(**{**vars(NUMBER), "standardize": True})
    own = Model("own", name_or_path=str(tmp_path))
    again = load_pretrained(own, task, 0, label_scale=(50.0, 20.0)).model
    learned = (output(first.model) - 50) / 20
    torch.testing.assert_close(output(again), learned, rtol=0, atol=1e-5)


def test_a_head_that_was_drawn_stays():
    source = Model("tiny", config=FAMILIES["bert"])
    task = Task(**{**vars(NUMBER), "standardize": True})
    drawn = load_pretrained(source, task, 0, label_scale=(50.0, 20.0)).model
    assert torch.equal(output(drawn), output(load_pretrained(source, NUMBER, 0).model))


def test_a_last_layer_without_a_bias_is_told():
    model = nn.Module()
    model.base_model_prefix, model.out = "body", nn.Linear(4, 1, bias=False)
    with pytest.raises(UserError, match=r"standardize=true, .*: out of this model has no bias; f"):
        start_in_units(model, {"out.weight"}, 1.0, 2.0)


@pytest.fixture
def numbers(compose, tmp_path):
    """`numbers(labels, *overrides)`: data of a file with these labels, all for training."""

    def made(labels, *overrides):
        path = tmp_path / "numbers.csv"
        rows = "".join(f"text {row},{label}\n" for row, label in enumerate(labels))
        path.write_text(f"text,label\n{rows}")
        files = f"task.train='{path}'", f"task.validation='{path}'"
        config = settled(compose("task=file", *files, "task.kind=regression", *overrides))
        return GlueDataModule(config.task, config.optim, 0, config.n_train, None)

    return made


def test_numbers_of_a_file_are_learned_with_mean_0_and_standard_deviation_1(numbers):
    data = numbers([70.5, 80, 95, 60, 100, 85.5])
    assert np.mean(data.targets) == pytest.approx(0, abs=1e-12)
    assert np.std(data.targets) == pytest.approx(1)
    mean, std = data.label_scale
    assert [mean + std * target for target in data.targets] == pytest.approx(data.train.labels)


def test_a_subsample_of_one_number_can_be_learned(numbers):
    data = numbers([5.0, 0.1, 0.1, 0.1, 0.1, 0.1], "n_train=3")
    assert data.train.labels == [0.1] * 3 and np.std(data.train.labels) > 0
    assert data.targets == pytest.approx([0, 0, 0], abs=1e-12) and data.label_scale[1] == 1


def test_as_they_are_where_that_is_asked_for(numbers):
    data = numbers([70.5, 80, 95, 60, 100, 85.5], "task.standardize=false")
    assert data.targets == data.train.labels


def test_predictions_of_a_file_far_from_0_are_where_its_labels_are(tiny_run, tmp_path):
    path = tmp_path / "far.csv"
    pairs = itertools.product(("it", "he", "the man"), ("good", "new", "long"))
    texts = [f"{one} was {other}" for one, other in pairs]
    rows = "".join(f"{text},{1000 + 100 * i}\n" for i, text in enumerate(texts * 3))
    path.write_text(f"text,label\n{rows}")
    record, folder = tiny_run("task=file", f"task.train='{path}'", "n_train=12", "method=vanilla")
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    assert record.status == "ok"
    predicted = [json.loads(line)["prediction"] for line in lines]
    assert all(1000 < number < 3600 for number in predicted)
