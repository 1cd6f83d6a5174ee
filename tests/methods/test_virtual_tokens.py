"""What holds for prefix and prompt tuning alike."""

import json

import pytest
import torch
from adapter_harness import (
    OPTIM,
    adapted,
    batch_of,
    exported,
    first_gradients,
    heads,
    logits,
    method_of,
    runner,
    tiny,
    trained_on_a_frozen_body,
)
from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from agwm.errors import UserError

NAMES = ["prefix", "prompt"]


@pytest.mark.parametrize(
    ("name", "family", "head"),
    [
        ("prefix", "bert", {"classifier"}),
        ("prefix", "roberta", {"classifier"}),
        ("prefix", "xlm-roberta", {"classifier"}),
        ("prefix", "electra", {"classifier"}),
        ("prompt", "bert", {"classifier"}),
        ("prompt", "roberta", {"classifier"}),
        ("prompt", "deberta", {"classifier", "pooler"}),
        ("prompt", "xlnet", {"sequence_summary", "logits_proj"}),
        ("prompt", "electra", {"classifier"}),
        ("prompt", "modernbert", {"head", "classifier"}),
        ("prompt", "distilbert", {"pre_classifier", "classifier"}),
        ("prompt", "albert", {"classifier"}),
    ],
)
def test_virtual_tokens_and_the_whole_head_have_gradients_in_the_first_step(
    compose, name, family, head
):
    _, model, batch = adapted(method_of(compose, f"method={name}"), family)
    assert heads(model) == head
    gradients = first_gradients(model, batch)
    others = [name for name in gradients if ".modules_to_save." not in name]
    assert others == ["prompt_encoder.default.embedding.weight"]
    for name, gradient in gradients.items():
        assert gradient.isfinite().all() and gradient.any(), name


@pytest.mark.parametrize(
    ("name", "family", "reason"),
    [
        ("prefix", "bart", "bart is an encoder-decoder, whose classifier takes no virtual tokens"),
        ("prefix", "deberta", "deberta does not take past_key_values"),
        ("prefix", "xlnet", "xlnet does not take past_key_values"),
        ("prompt", "bart", "bart is an encoder-decoder, whose classifier takes no virtual tokens"),
    ],
)
def test_a_model_that_takes_no_virtual_tokens_is_refused_in_one_line(compose, name, family, reason):
    loaded = tiny(family)
    with pytest.raises(UserError) as caught:
        method_of(compose, f"method={name}").prepare(loaded.model, runner(loaded.fresh))
    assert str(caught.value) == f"method={name}: {reason}; method=lora works"


@pytest.mark.parametrize("name", NAMES)
def test_a_run_leaves_the_pretrained_weights_as_they_were(tiny_run, monkeypatch, compose, name):
    trained = trained_on_a_frozen_body(compose, tiny_run, monkeypatch, name, "prompt_encoder")
    assert len(trained) == 1 + 2


@pytest.mark.parametrize("name", NAMES)
def test_virtual_tokens_are_drawn_from_the_seed_of_the_run_alone(compose, name):
    def drawn(seed, global_seed):
        torch.manual_seed(global_seed)
        return adapted(method_of(compose, f"method={name}"), seed=seed)[
            1
        ].prompt_encoder.default.embedding.weight

    assert torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


@pytest.mark.parametrize("name", NAMES)
def test_the_optimizer_has_all_that_is_trained_at_the_rate_of_the_method(compose, name):
    method = method_of(compose, f"method={name}")
    _, model, _ = adapted(method)
    groups = method.parameter_groups(model, OPTIM)
    assert [group["lr"] for group in groups] == 2 * [method.lr_factor * OPTIM.lr]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group["params"]} == trained


@pytest.mark.parametrize("name", NAMES)
def test_the_exported_folder_reads_back_through_peft_and_names_no_path(compose, tmp_path, name):
    expected, folder, batch = exported(method_of(compose, f"method={name}"), tmp_path)
    base = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    source = AutoModelForSequenceClassification.from_pretrained(tmp_path / "source").state_dict()
    assert base.state_dict().keys() == source.keys()
    assert all(torch.equal(tensor, source[name]) for name, tensor in base.state_dict().items())
    model = PeftModel.from_pretrained(base, folder / "adapter")
    torch.testing.assert_close(logits(model, batch), expected, rtol=0, atol=1e-6)
    assert not torch.allclose(logits(tiny("bert").model, batch), expected, atol=1e-3)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert torch.equal(batch_of(tokenizer)["input_ids"], batch["input_ids"])
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] in (None, "", "base")
    for file in folder.rglob("*.*"):
        assert str(tmp_path).encode() not in file.read_bytes(), file


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("epochs", "planned"), [(20, 20), (1, 1), ("null", None)])
def test_the_fit_takes_the_epochs_of_the_method(compose, epochs, planned, name):
    (phase,) = method_of(compose, f"method={name}", f"method.epochs={epochs}").plan()
    assert (phase.epochs, phase.passes, phase.streams) == (planned, 1.0, ())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("tokens", ["0", "-1"], ">= 1"),
        ("lr_factor", ["-0.1", "nan", "inf"], "a number >= 0"),
        ("epochs", ["0", "-1"], ">= 1 or null"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(compose, key, values, allowed, name):
    for value in values:
        with pytest.raises(UserError) as caught:
            method_of(compose, f"method={name}", f"method.{key}={value}")
        assert str(caught.value) == f"method.{key}={value}: must be {allowed}"
