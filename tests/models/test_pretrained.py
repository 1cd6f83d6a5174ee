from importlib import metadata

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers import AutoConfig, AutoModel, BertForSequenceClassification

from agwm.config import Model, Task
from agwm.errors import UserError
from agwm.models.pretrained import load_pretrained
from agwm.models.tiny import tiny_tokenizer

HEAD = {"classifier.weight", "classifier.bias"}
TWO = Task("sst2", ["sentence"], ["negative", "positive"], ["accuracy"], ["validation"])
NUMBER = Task("stsb", ["sentence1", "sentence2"], None, ["spearman"], ["validation"])
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "vocab_size": 128,
    "max_position_embeddings": 128,
}
TINY = Model("tiny", config=BERT)


@pytest.fixture(scope="module")
def tiny():
    return load_pretrained(TINY, TWO, head_seed=1)


@pytest.fixture
def checkpoint(tmp_path):
    """`checkpoint(**options)`: folder of a saved body and, unless told otherwise, tokenizer."""

    def saved(dtype=torch.float32, tokenizer=True):
        torch.manual_seed(7)
        folder = tmp_path / "checkpoint"
        AutoModel.from_config(AutoConfig.for_model(**BERT)).to(dtype).save_pretrained(folder)
        if tokenizer:
            tiny_tokenizer().save_pretrained(folder)
        return folder

    return saved


@pytest.fixture
def minilm(compose):
    config = compose("model=minilm").model
    try:
        metadata.distribution(config.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{config.package} is not installed")
    return config


def body(model):
    return {name: tensor for name, tensor in model.state_dict().items() if name not in HEAD}


def head(model):
    return model.classifier.weight.detach()


def same(first, second):
    assert first.keys() == second.keys()
    return all(torch.equal(first[name], second[name]) for name in first)


def told(config, task=TWO):
    with pytest.raises(UserError) as error:
        load_pretrained(config, task, head_seed=0)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_head_alone_is_fresh_and_the_pooler_is_pretrained(tiny):
    assert tiny.fresh == HEAD
    assert "bert.pooler.dense.weight" in tiny.model.state_dict()


def test_the_head_depends_on_the_head_seed_and_the_body_does_not(tiny):
    again = load_pretrained(TINY, TWO, head_seed=1).model
    other = load_pretrained(TINY, TWO, head_seed=2).model
    assert torch.equal(head(tiny.model), head(again))
    assert not torch.equal(head(tiny.model), head(other))
    assert same(body(tiny.model), body(other))


def test_what_was_drawn_before_does_not_reach_the_head(tiny):
    torch.manual_seed(99)
    torch.rand(5)
    assert torch.equal(head(load_pretrained(TINY, TWO, head_seed=1).model), head(tiny.model))


def test_the_task_decides_the_size_of_the_head(tiny):
    three = Task("mnli", ["premise", "hypothesis"], ["e", "n", "c"], ["accuracy"], ["validation"])
    assert head(tiny.model).shape == (2, 16)
    assert head(load_pretrained(TINY, three, 0).model).shape == (3, 16)
    number = load_pretrained(TINY, NUMBER, 0).model
    assert head(number).shape == (1, 16) and number.config.problem_type == "regression"


def test_dropout_is_there_and_on(tiny):
    dropouts = [module for module in tiny.model.modules() if isinstance(module, nn.Dropout)]
    assert len(dropouts) >= 6
    assert {module.p for module in dropouts} == {0.1}


def test_minilm_is_the_pretrained_model_with_a_fresh_head(minilm):
    loaded = load_pretrained(minilm, TWO, head_seed=1)
    assert loaded.fresh == HEAD
    assert sum(parameter.numel() for parameter in body(loaded.model).values()) == 22_713_216
    assert len(loaded.tokenizer) == 30_522
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert any(isinstance(m, nn.Dropout) and m.p > 0 for m in loaded.model.modules())
    embeddings = loaded.model.get_input_embeddings().weight
    near, far = (
        torch.cosine_similarity(*embeddings[loaded.tokenizer.convert_tokens_to_ids(pair)], dim=0)
        for pair in (["monday", "tuesday"], ["monday", "carbon"])
    )
    assert near > far + 0.2


def test_weights_of_another_checksum_are_refused(minilm, monkeypatch):
    monkeypatch.setattr(minilm, "sha256", "0" * 64)
    message = told(minilm)
    assert "model.safetensors" in message and f"is not {'0' * 64}" in message
    assert "reinstall" in message


def test_a_folder_gives_its_body_and_a_fresh_head(checkpoint):
    folder = checkpoint()
    loaded = load_pretrained(Model("own", name_or_path=str(folder)), TWO, head_seed=1)
    saved = AutoModel.from_pretrained(folder).state_dict()
    assert loaded.fresh == HEAD
    assert same({f"bert.{name}": tensor for name, tensor in saved.items()}, body(loaded.model))
    other = load_pretrained(Model("own", name_or_path=str(folder)), TWO, head_seed=2)
    assert not torch.equal(head(loaded.model), head(other.model))


def test_half_precision_weights_are_loaded_in_float32(checkpoint):
    folder = checkpoint(dtype=torch.float16)
    assert AutoModel.from_pretrained(folder).dtype == torch.float16
    loaded = load_pretrained(Model("own", name_or_path=str(folder)), TWO, head_seed=1)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_a_folder_without_a_tokenizer_is_told_in_one_line(checkpoint):
    folder = checkpoint(tokenizer=False)
    message = told(Model("own", name_or_path=str(folder)))
    assert str(folder) in message and "tokenizer" in message


def test_an_empty_folder_is_told_in_one_line(tmp_path):
    message = told(Model("own", name_or_path=str(tmp_path)))
    assert f"model.name_or_path={tmp_path}" in message
    assert "no Hugging Face sequence classifier" in message


def test_a_folder_without_weights_is_told_in_one_line(checkpoint):
    folder = checkpoint()
    (folder / "model.safetensors").unlink()
    assert str(folder) in told(Model("own", name_or_path=str(folder)))


def test_weights_of_another_architecture_are_told_in_one_line(checkpoint):
    folder = checkpoint()
    save_file({"nosuch.weight": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    message = told(Model("own", name_or_path=str(folder)))
    assert str(folder) in message and "holds none of the model's weights" in message


def test_damaged_weights_are_told_in_one_line(checkpoint):
    folder = checkpoint()
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert str(folder) in told(Model("own", name_or_path=str(folder)))


def test_a_name_that_cannot_be_had_offline_says_how_to_get_it():
    message = told(Model("own", name_or_path="nobody/no-such-model"))
    assert "model.name_or_path=nobody/no-such-model" in message
    assert "hf download nobody/no-such-model" in message


def test_a_head_that_was_saved_with_the_model_is_kept(checkpoint):
    folder = checkpoint()
    torch.manual_seed(3)
    classifier = BertForSequenceClassification.from_pretrained(folder, num_labels=2)
    classifier.save_pretrained(folder)
    loaded = load_pretrained(Model("own", name_or_path=str(folder)), TWO, head_seed=1)
    assert loaded.fresh == frozenset()
    assert torch.equal(head(loaded.model), head(classifier))
