import pytest
import torch
from adapter_harness import (
    OPTIM,
    TASK,
    adapted,
    counts,
    disturb,
    first_gradients,
    heads,
    large,
    logits,
    method_of,
    trained_on_a_frozen_body,
)
from families import FAMILIES

from agwm.config import Model
from agwm.errors import UserError
from agwm.models import adapters
from agwm.models.pretrained import load_pretrained


@pytest.fixture
def lora(compose):
    return method_of(compose, "method=lora")


@pytest.mark.parametrize(
    ("labels", "trained", "all_of_them"),
    [(2, 788_482, 334_369_796), (1, 787_457, None), (3, 789_507, None)],
)
def test_bert_large_trains_as_many_parameters_as_the_paper_says(lora, labels, trained, all_of_them):
    found = counts(large(lora, "bert", labels))
    assert found[0] == trained
    assert all_of_them in (None, found[1])


@pytest.mark.parametrize(
    ("family", "adapters", "head"),
    [
        ("roberta", 786_432, {"classifier"}),
        ("bart", 1_179_648, {"classification_head"}),
        ("deberta", 786_432, {"classifier", "pooler"}),
        ("deberta-v2", 786_432, {"classifier", "pooler"}),
        ("xlnet", 1_966_080, {"sequence_summary", "logits_proj"}),
    ],
)
def test_other_large_models_train_their_adapters_and_their_whole_head(lora, family, adapters, head):
    model = large(lora, family)
    assert counts(model)[0] == adapters + 1_051_650
    assert {name.removeprefix("model.") for name in heads(model)} == head


@pytest.mark.parametrize(
    ("family", "head"),
    [("bert", "classifier"), ("bart", "classification_head"), ("xlnet", "logits_proj")],
)
def test_a_head_of_the_checkpoint_is_trained_whatever_its_name(family, head):
    model = load_pretrained(Model("tiny", config=FAMILIES[family]), TASK, 0).model
    assert adapters.heads(model, frozenset()) == [head]


@pytest.mark.parametrize("family", ["bert", "roberta", "bart", "deberta", "xlnet"])
def test_at_the_start_the_adapters_change_nothing_and_get_gradients_but_a(lora, family):
    plain, model, batch = adapted(lora, family)
    torch.testing.assert_close(logits(model, batch), logits(plain, batch), rtol=0, atol=1e-6)
    gradients = first_gradients(model, batch)
    assert any("lora_A" in name for name in gradients)
    for name, gradient in gradients.items():
        assert gradient.any().item() != ("lora_A" in name), name


def test_the_merged_model_is_a_plain_one_with_the_low_rank_product_added(lora):
    plain, model, batch = adapted(lora)
    disturb(model)
    parts = model.state_dict()
    expected = logits(model, batch)
    for name, module in plain.named_modules():
        if name.endswith(("query", "value")):
            own = f"base_model.model.{name}"
            a, b = (parts[f"{own}.lora_{which}.default.weight"] for which in "AB")
            module.weight.data += 16 / 8 * b @ a
    for part in ("weight", "bias"):
        own = parts[f"base_model.model.classifier.modules_to_save.default.{part}"]
        plain.classifier.get_parameter(part).data.copy_(own)
    merged = lora.merge(model)
    assert type(merged) is type(plain)
    assert merged.state_dict().keys() == plain.state_dict().keys()
    torch.testing.assert_close(logits(merged, batch), expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(plain, batch), expected, rtol=0, atol=1e-5)


def test_a_run_leaves_the_pretrained_weights_as_they_were(tiny_run, monkeypatch, compose):
    trained = trained_on_a_frozen_body(compose, tiny_run, monkeypatch, "lora", "lora_")
    assert len(trained) == 2 * 2 * 2 + 2


def test_the_adapters_drop_inputs_at_the_rate_of_the_method(compose):
    method = method_of(compose, "method=lora", "method.dropout=0.5")
    _, model, _ = adapted(method)
    rates = {m.p for n, m in model.named_modules() if "lora_dropout" in n and hasattr(m, "p")}
    assert rates == {0.5}


def test_the_targets_are_the_layers_that_are_named(compose):
    method = method_of(compose, "method=lora", "method.targets=[key]", "method.rank=2")
    _, model, _ = adapted(method)
    found = {n: p.shape for n, p in model.named_parameters() if "lora_" in n}
    assert len(found) == 2 * 2
    assert all(".key.lora_" in name and 2 in shape for name, shape in found.items())


@pytest.mark.parametrize(("family", "layers"), [
    ("deberta-v3", {"query_proj", "value_proj"}),
    ("electra", {"query", "value"}),
    ("modernbert", {"Wqkv"}),
    ("distilbert", {"q_lin", "v_lin"}),
    ("albert", {"query", "value"}),
])  # fmt: skip
def test_queries_and_values_are_adapted_in_the_further_families(lora, family, layers):
    _, model, _ = adapted(lora, family)
    found = {n.partition(".lora_")[0] for n, _ in model.named_parameters() if ".lora_" in n}
    assert {name.rpartition(".")[2] for name in found} == layers
    assert len(found) == len(layers) * (1 if family == "albert" else 2)


def test_adapters_are_drawn_from_the_seed_of_the_run_alone(lora):
    def drawn(seed, global_seed):
        torch.manual_seed(global_seed)
        _, model, _ = adapted(lora, seed=seed)
        return torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])

    assert torch.equal(drawn(1, 1), drawn(1, 2))
    assert not torch.equal(drawn(1, 1), drawn(2, 1))


def test_the_optimizer_has_all_that_is_trained_at_the_rate_of_the_method(lora):
    _, model, _ = adapted(lora)
    with_decay, without = lora.parameter_groups(model, OPTIM)
    assert with_decay["lr"] == without["lr"] == pytest.approx(15 * OPTIM.lr)
    assert (with_decay["weight_decay"], without["weight_decay"]) == (OPTIM.weight_decay, 0.0)
    assert [p.shape for p in without["params"]] == [(2,)]
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert {id(p) for group in (with_decay, without) for p in group["params"]} == trained


@pytest.mark.parametrize(("epochs", "planned"), [(20, 20), (1, 1), ("null", None)])
def test_the_fit_takes_the_epochs_of_the_method(compose, epochs, planned):
    (phase,) = method_of(compose, "method=lora", f"method.epochs={epochs}").plan()
    assert (phase.epochs, phase.passes, phase.streams) == (planned, 1.0, ())


@pytest.mark.parametrize(
    ("key", "values", "allowed"),
    [
        ("rank", ["0", "-1"], ">= 1"),
        ("alpha", ["0.0", "-1.0", "nan", "inf"], "a number > 0"),
        ("dropout", ["-0.1", "1.0", "nan"], "in [0, 1)"),
        ("lr_factor", ["-0.1", "nan", "inf"], "a number >= 0"),
        ("epochs", ["0", "-1"], ">= 1 or null"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(compose, key, values, allowed):
    for value in values:
        with pytest.raises(UserError) as caught:
            method_of(compose, "method=lora", f"method.{key}={value}")
        assert str(caught.value) == f"method.{key}={value}: must be {allowed}"


def test_targets_that_the_model_does_not_have_are_refused_in_one_line(compose):
    method = method_of(compose, "method=lora", "method.targets=[nonsense]")
    with pytest.raises(UserError, match=r"^method\.targets=.*nonsense.*$"):
        adapted(method)


def test_a_family_that_peft_does_not_know_is_refused_with_the_layers_it_has(tiny_run):
    unknown = FAMILIES["bert"] | {"model_type": "megatron-bert"}
    with pytest.raises(
        UserError, match=r"^method.targets=None: PEFT has no targets for megatron-bert; gi"
    ):
        tiny_run("method=lora", architecture=unknown)
