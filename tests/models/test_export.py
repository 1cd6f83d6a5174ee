import json
from copy import deepcopy

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from agwm.config import Model, Task
from agwm.errors import RunError
from agwm.models.export import difference, save_model
from agwm.models.mixed import merge, mix_pretrained
from agwm.models.pretrained import load_pretrained
from agwm.numerics.mixing import init_alpha

TWO = Task("sst2", ["sentence"], ["negative", "positive"], ["accuracy"], ["validation"])
NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
SENTENCES = ["The time is now.", "Where will they go, and how long?"]


@pytest.fixture(scope="module")
def tiny():
    bert = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 2}
    bert |= {"num_attention_heads": 2, "intermediate_size": 32, "vocab_size": 128}
    return Model("tiny", config=bert)


def trained(loaded):
    """A model that is no longer the pretrained one, in training mode, as a run leaves it."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return loaded.model.train()


def logits(model, tokenizer):
    with torch.inference_mode():
        batch = tokenizer(SENTENCES, padding=True, return_tensors="pt")
        return model.eval()(**batch).logits


def read_back(folder):
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    return logits(model, AutoTokenizer.from_pretrained(folder))


def mixed(model, fresh, rank, form):
    generator = torch.Generator().manual_seed(6)

    def alpha(shape):
        return init_alpha(shape, rank, lambda s: torch.randn(s, generator=generator), 0.4, 0.7)

    return mix_pretrained(model, fresh, alpha, form)


@pytest.mark.parametrize("task", [TWO, NUMBER], ids=["classes", "regression"])
def test_what_is_read_back_gives_the_same_logits(tiny, task, tmp_path):
    loaded = load_pretrained(tiny, task, head_seed=0)
    model = trained(loaded)
    expected = logits(deepcopy(model), loaded.tokenizer)
    save_model(model, loaded.tokenizer, tmp_path / "model")
    assert torch.equal(read_back(tmp_path / "model"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_labels_and_kind_of_problem_are_in_the_exported_configuration(tiny, tmp_path):
    for task in (TWO, NUMBER):
        loaded = load_pretrained(tiny, task, head_seed=0)
        save_model(loaded.model, loaded.tokenizer, tmp_path / task.name)
    classes, number = (
        json.loads((tmp_path / task.name / "config.json").read_text()) for task in (TWO, NUMBER)
    )
    assert classes["id2label"] == {"0": "negative", "1": "positive"}
    assert classes["label2id"] == {"negative": 0, "positive": 1}
    assert classes["problem_type"] == "single_label_classification"
    assert number["problem_type"] == "regression" and len(number["id2label"]) == 1


def test_the_folder_is_all_that_a_pipeline_needs(tiny, tmp_path):
    loaded = load_pretrained(tiny, TWO, head_seed=0)
    model = trained(loaded)
    expected = logits(deepcopy(model), loaded.tokenizer).softmax(-1)
    save_model(model, loaded.tokenizer, tmp_path / "model")
    found = pipeline("text-classification", str(tmp_path / "model"), device="cpu")(SENTENCES)
    for answer, scores in zip(found, expected, strict=True):
        assert answer["label"] == TWO.labels[scores.argmax()]
        assert answer["score"] == pytest.approx(scores.max().item(), abs=1e-6)


@pytest.mark.parametrize("form", ["product", "convex"])
@pytest.mark.parametrize("rank", [1, 2, "full", "row", "layer"])
def test_a_merged_mixture_is_a_plain_model_with_the_same_logits(tiny, tmp_path, rank, form):
    loaded = load_pretrained(tiny, TWO, head_seed=0)
    plain = deepcopy(loaded.model)
    names = set(plain.state_dict())
    mixture = mixed(loaded.model, loaded.fresh, rank, form)
    assert set(mixture.state_dict()) > names
    trained(loaded)
    expected = logits(mixture, loaded.tokenizer)
    assert (expected - logits(plain, loaded.tokenizer)).abs().max() > 1e-2
    merged = merge(mixture)
    assert set(merged.state_dict()) == names
    assert [type(module) for module in merged.modules()] == [
        type(module) for module in plain.modules()
    ]
    save_model(merged, loaded.tokenizer, tmp_path / "model")
    assert (read_back(tmp_path / "model") - expected).abs().max() < 1e-5


def test_a_model_that_reads_back_otherwise_is_not_put_in_place(tiny, tmp_path):
    loaded = load_pretrained(tiny, TWO, head_seed=0)
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model")
    before = read_back(tmp_path / "model")
    unmerged = mixed(trained(loaded), loaded.fresh, 1, "product")
    with pytest.raises(RunError, match="read back"):
        save_model(unmerged, loaded.tokenizer, tmp_path / "model")
    assert torch.equal(read_back(tmp_path / "model"), before)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_older_export_is_replaced_whole(tiny, tmp_path):
    loaded = load_pretrained(tiny, TWO, head_seed=0)
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model")
    (tmp_path / "model" / "left-over.txt").touch()
    model = trained(loaded)
    save_model(model, loaded.tokenizer, tmp_path / "model")
    assert not (tmp_path / "model" / "left-over.txt").exists()
    assert torch.equal(read_back(tmp_path / "model"), logits(model, loaded.tokenizer))


def test_logits_differ_by_a_share_of_the_largest_where_that_is_above_1():
    small, large = torch.tensor([[0.25, -0.5]]), torch.tensor([[2000.0, -250_000.0]])
    assert difference(small + 0.125, small) == 0.125
    assert difference(large + torch.tensor([0.0, 0.25]), large) == pytest.approx(1e-6)
    assert not difference(small, small / 0) < 1
