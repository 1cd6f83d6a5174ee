import json

import pytest
import torch
from adapter_harness import (
    OPTIM,
    adapted,
    batch_of,
    body,
    copy_heads,
    counts,
    disturb,
    exported,
    first_gradients,
    heads,
    large,
    logits,
    method_of,
    runner,
    states_of_a_run,
    tiny,
)
from peft import PeftModel
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from agwm.errors import UserError


@pytest.fixture
def prompt(compose):
    return method_of(compose, "method=prompt")


@pytest.mark.parametrize(
    ("labels", "trained", "all_of_them"),
    [(2, 22_530, 333_603_844), (1, 21_505, None), (3, 23_555, None)],
)
def test_bert_large_trains_as_many_parameters_as_the_paper_says(
    prompt, labels, trained, all_of_them
):
    found = counts(large(prompt, "bert", labels))
    assert found[0] == trained
    assert all_of_them in (None, found[1])


@pytest.mark.parametrize("family", ["bert", "roberta", "deberta", "xlnet"])
def test_the_learned_embeddings_stand_in_front_of_those_of_the_text(prompt, family):
    plain, model, batch = adapted(prompt, family)
    disturb(model)
    (learned,) = [p for n, p in model.named_parameters() if "prompt_encoder" in n]
    assert learned.shape == (20, 16)
    copy_heads(model, plain)
    text = plain.get_input_embeddings()(batch["input_ids"])
    ones = torch.ones(2, 20, dtype=torch.long)
    given = {
        "inputs_embeds": torch.cat([learned.expand(2, -1, -1), text], 1),
        "attention_mask": torch.cat([ones, batch["attention_mask"]], 1),
    }
    torch.testing.assert_close(logits(model, batch), logits(plain, given), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "head"),
    [
        ("bert", {"classifier"}),
        ("roberta", {"classifier"}),
        ("deberta", {"classifier", "pooler"}),
        ("xlnet", {"sequence_summary", "logits_proj"}),
    ],
)
def test_virtual_tokens_and_the_whole_head_have_gradients_in_the_first_step(prompt, family, head):
    _, model, batch = adapted(prompt, family)
    assert heads(model) == head
    gradients = first_gradients(model, batch)
    others = [name for name in gradients if ".modules_to_save." not in name]
    assert others == ["prompt_encoder.default.embedding.weight"]
    for name, gradient in gradients.items():
        assert gradient.isfinite().all() and gradient.any(), name


@pytest.mark.parametrize(
    ("family", "reason"),
    [("bart", "bart is an encoder-decoder, whose classifier takes no virtual tokens")],
)
def test_a_model_that_takes_no_virtual_tokens_is_refused_in_one_line(prompt, family, reason):
    loaded = tiny(family)
    with pytest.raises(UserError) as caught:
        prompt.prepare(loaded.model, runner(loaded.fresh))
    assert str(caught.value) == f"method=prompt: {reason}; method=lora works"


def test_a_run_leaves_the_pretrained_weights_as_they_were(tiny_run, monkeypatch, compose):
    before, after = states_of_a_run(tiny_run, monkeypatch, "method=prompt", "method.epochs=1")
    torch.manual_seed(0)
    config = AutoConfig.for_model(**compose("model=tiny").model.config)
    pretrained = AutoModel.from_config(config).state_dict()
    frozen = body(after)
    assert frozen.keys() == pretrained.keys()
    assert all(torch.equal(frozen[name], pretrained[name]) for name in frozen)
    trained = [n for n in after if "prompt_encoder" in n or ".modules_to_save." in n]
    assert len(trained) == 1 + 2
    assert not any(torch.equal(before[name], after[name]) for name in trained)


def test_virtual_tokens_are_drawn_from_the_seed_of_the_run_alone(prompt):
    def drawn(seed, global_seed):
        torch.manual_seed(global_seed)
        return adapted(prompt, seed=seed)[1].prompt_encoder.default.embedding.weight

    assert torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


def test_the_optimizer_has_all_that_is_trained_at_the_rate_of_the_method(prompt):
    _, model, _ = adapted(prompt)
    groups = prompt.parameter_groups(model, OPTIM)
    assert [group["lr"] for group in groups] == [1e-3, 1e-3]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in groups for p in group["params"]} == trained


def test_the_exported_folder_reads_back_through_peft_and_names_no_path(prompt, tmp_path):
    expected, folder, batch = exported(prompt, tmp_path)
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


@pytest.mark.parametrize(("epochs", "planned"), [(20, 20), (1, 1), ("null", None)])
def test_the_fit_takes_the_epochs_of_the_method(compose, epochs, planned):
    (phase,) = method_of(compose, "method=prompt", f"method.epochs={epochs}").plan()
    assert (phase.epochs, phase.passes, phase.streams) == (planned, 1.0, ())


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("tokens", ["0", "-1"], ">= 1"),
        ("lr", ["-0.1", "nan", "inf"], "a number >= 0"),
        ("epochs", ["0", "-1"], ">= 1 or null"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(compose, key, values, allowed):
    for value in values:
        with pytest.raises(UserError) as caught:
            method_of(compose, "method=prompt", f"method.{key}={value}")
        assert str(caught.value) == f"method.{key}={value}: must be {allowed}"


def test_more_tokens_than_the_model_has_positions_for_are_refused(tiny_run):
    with pytest.raises(UserError, match=r"^method.tokens=33: .*room for 32 more positions"):
        tiny_run("method=prompt", "method.tokens=33")
