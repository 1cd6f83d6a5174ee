import copy

import pytest
import torch
from families import FAMILIES
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from agwm import mixed
from agwm.errors import UserError
from agwm.models.mixed import (
    alpha_parameters,
    alpha_tensors,
    fix_alpha,
    merge,
    mix_pretrained,
    mixed_linears,
    mixture_state,
    pretrained_linears,
)
from agwm.numerics.mixing import init_alpha, mix

# Shapes of the released checkpoints; without them no such model can be built offline.
LARGE = {
    "bert": dict(model_type="bert", hidden_size=1024, num_hidden_layers=24,
                 num_attention_heads=16, intermediate_size=4096, vocab_size=28996),
    "roberta": dict(model_type="roberta", hidden_size=1024, num_hidden_layers=24,
                    num_attention_heads=16, intermediate_size=4096, vocab_size=50265,
                    max_position_embeddings=514, type_vocab_size=1),
    "bart": dict(model_type="bart", d_model=1024, encoder_layers=12, decoder_layers=12,
                 encoder_attention_heads=16, decoder_attention_heads=16, encoder_ffn_dim=4096,
                 decoder_ffn_dim=4096, vocab_size=50265, max_position_embeddings=1024),
    "deberta": dict(model_type="deberta", hidden_size=1024, num_hidden_layers=24,
                    num_attention_heads=16, intermediate_size=4096, vocab_size=50265,
                    max_position_embeddings=512, type_vocab_size=0, relative_attention=True,
                    pos_att_type=["c2p", "p2c"], position_biased_input=False,
                    max_relative_positions=-1, pooler_hidden_size=1024),
    "xlnet": dict(model_type="xlnet", d_model=1024, n_layer=24, n_head=16, d_inner=4096,
                  vocab_size=32000),
}  # fmt: skip

# family: parameters, linear layers, mixed layers, entries in them, alpha parameters at rank 1
COUNTS = {
    "bert": (333_581_314, 146, 145, 303_038_464, 444_416),
    "roberta": (355_361_794, 146, 144, 301_989_888, 442_368),
    "bart": (407_343_106, 194, 192, 352_321_536, 540_672),
    "deberta": (406_214_658, 146, 144, 352_321_536, 491_520),
    "xlnet": (361_320_450, 50, 48, 201_326_592, 245_760),
}


def head_parameters(model):
    """What no checkpoint of the body holds, for a model built from its config."""
    body = model.base_model_prefix + "."
    return frozenset(name for name, _ in model.named_parameters() if not name.startswith(body))


def build(config):
    config = AutoConfig.for_model(**config, id2label={0: "no", 1: "yes"})
    return AutoModelForSequenceClassification.from_config(config)


def tiny(family):
    """In eval mode; no bias is at the 0 that it is made with."""
    torch.manual_seed(0)
    model = build(FAMILIES[family]).eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def ones(shape):
    return init_alpha(shape, 1, torch.zeros, std=0.0)


def some_texts():
    ids = torch.randint(5, 60, (3, 9))
    ids[:, -1] = 3  # BART pools at its end-of-text token
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@pytest.mark.parametrize("family", COUNTS)
def test_counts_of_the_large_models_are_those_of_the_specification(family):
    with torch.device("meta"):
        model = build(LARGE[family])
    fresh = head_parameters(model)
    linears = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    mixed = [linear.weight.shape for _, linear in pretrained_linears(model, fresh)]
    found = (
        sum(p.numel() for p in model.parameters()),
        len(linears),
        len(mixed),
        sum(rows * columns for rows, columns in mixed),
        sum(rows + columns for rows, columns in mixed),
    )
    assert found == COUNTS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_alpha_one_and_w_equal_to_w0_give_the_untouched_model(family):
    plain = tiny(family)
    mixed = mix_pretrained(copy.deepcopy(plain), head_parameters(plain), ones)
    assert len(list(mixed_linears(mixed))) >= 4
    batch = some_texts()
    with torch.no_grad():
        assert torch.equal(mixed(**batch).logits, plain(**batch).logits)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_merged_is_an_ordinary_model_with_equal_logits(family, tmp_path):
    plain = tiny(family)
    keys, kind = set(plain.state_dict()), type(plain)
    mixed = mix_pretrained(
        plain, head_parameters(plain), lambda s: init_alpha(s, 2, torch.rand, 0.3, 0.4)
    )
    for _, layer in mixed_linears(mixed):
        layer.weight.data.add_(torch.randn_like(layer.weight), alpha=0.1)
    batch = some_texts()
    with torch.no_grad():
        before = mixed(**batch).logits
        merged = merge(mixed)
        merged.save_pretrained(tmp_path)
        again = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        assert torch.equal(merged(**batch).logits, before)
        torch.testing.assert_close(again(**batch).logits, before, atol=1e-5, rtol=0)
    assert set(merged.state_dict()) == keys
    assert type(again) is kind
    assert not list(mixed_linears(merged))


def test_a_layer_that_is_gone_through_more_than_once_is_mixed_and_counted_once():
    model = mix_pretrained(tiny("albert"), {"classifier.weight"}, ones)
    block = "albert.encoder.albert_layer_groups.0.albert_layers.0"
    inside = ("query", "key", "value", "dense")
    assert [name for name, _ in mixed_linears(model)] == [
        "albert.encoder.embedding_hidden_mapping_in",
        *(f"{block}.attention.{part}" for part in inside),
        f"{block}.ffn",
        f"{block}.ffn_output",
        "albert.pooler",
    ]
    assert len(alpha_parameters(model)) == 2 * 8


def test_the_gradient_of_a_shared_layer_s_alpha_is_that_of_all_passes_through_it():
    one, groups = "albert_layer_groups.0.", [f"albert_layer_groups.{i}." for i in range(3)]

    def copied(state):
        return {n.replace(one, group): t for n, t in state.items() for group in groups}

    shared, apart = tiny("albert"), build(FAMILIES["albert"] | {"num_hidden_groups": 3}).eval()
    apart.load_state_dict(copied(shared.state_dict()))
    for model in (shared, apart):
        mix_pretrained(
            model, {"classifier.weight"}, lambda s: init_alpha(s, 1, torch.rand, 0.3, 0.6)
        )
    apart.load_state_dict(copied(shared.state_dict()))
    batch = some_texts() | {"labels": torch.tensor([0, 1, 1])}
    for model in (shared, apart):
        model(**batch).loss.backward()
    theirs = alpha_parameters(apart)
    for name, alpha in alpha_parameters(shared).items():
        expected = sum(theirs[copy].grad for copy in {name.replace(one, group) for group in groups})
        torch.testing.assert_close(alpha.grad, expected, msg=name)


def test_only_linear_weights_of_the_checkpoint_are_mixed():
    model = build(FAMILIES["bert"])
    names = {name for name, _ in pretrained_linears(model, {"classifier.weight"})}
    assert "bert.pooler.dense" in names and "classifier" not in names
    everything = {name for name, _ in pretrained_linears(model, frozenset())}
    assert everything - names == {"classifier"}
    mix_pretrained(model, {"classifier.weight"}, ones)
    assert {name for name, _ in mixed_linears(model)} == names
    layer = model.bert.pooler.dense
    assert layer.weight.requires_grad and not layer.pretrained.requires_grad
    assert layer.weight.data_ptr() != layer.pretrained.data_ptr()


@pytest.mark.parametrize("form", ["product", "convex"])
@pytest.mark.parametrize("rank", [1, 3, "full", "row", "layer"])
def test_fixed_alpha_is_the_same_mixture_with_w_alone_to_train(form, rank):
    model = build(FAMILIES["bert"]).double()

    def drawn(shape):
        return tuple(a.double() for a in init_alpha(shape, rank, torch.randn, 0.3, 0.6))

    mix_pretrained(model, {"classifier.weight"}, drawn, form)
    for _, layer in mixed_linears(model):
        with torch.no_grad():
            layer.weight.add_(torch.randn_like(layer.weight))
    fixed = fix_alpha(copy.deepcopy(model))
    before, after = alpha_tensors(model), alpha_tensors(fixed)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {n for n, p in fixed.named_parameters() if not p.requires_grad} == set(
        alpha_parameters(fixed)
    )
    for (_, one), (_, other) in zip(mixed_linears(model), mixed_linears(fixed), strict=True):
        expected, found = one.mixed_weight(), other.mixed_weight()
        torch.testing.assert_close(found, expected, rtol=1e-13, atol=1e-13)
        upstream = torch.randn_like(expected)
        grads = [
            torch.autograd.grad(weight, layer.weight, upstream)[0]
            for weight, layer in ((expected, one), (found, other))
        ]
        torch.testing.assert_close(grads[1], grads[0], rtol=1e-13, atol=1e-13)
    assert set(fixed.state_dict()) == set(model.state_dict())


def test_at_alpha_one_fixed_weights_are_w_bit_for_bit():
    model = mix_pretrained(build(FAMILIES["bert"]), {"classifier.weight"}, ones)
    for _, layer in mixed_linears(fix_alpha(model)):
        assert torch.equal(layer.mixed_weight(), layer.weight)


def test_alpha_may_be_fixed_twice():
    model = mix_pretrained(build(FAMILIES["bert"]), {"classifier.weight"}, ones)
    before = [layer.mixed_weight() for _, layer in mixed_linears(fix_alpha(model))]
    after = [layer.mixed_weight() for _, layer in mixed_linears(fix_alpha(model))]
    assert all(torch.equal(b, a) for b, a in zip(before, after, strict=True))


def test_no_other_alpha_is_loaded_once_it_is_fixed():
    model = mix_pretrained(build(FAMILIES["bert"]), {"classifier.weight"}, ones)
    state = copy.deepcopy(fix_alpha(model).state_dict())
    state["bert.pooler.dense.weight"] += 1
    model.load_state_dict(state)
    assert torch.equal(model.bert.pooler.dense.weight, state["bert.pooler.dense.weight"])
    state["bert.pooler.dense.alpha.1"] *= 0.5
    with pytest.raises(UserError, match=r"pooler.dense.alpha.1: is fixed; load_state_dict before"):
        model.load_state_dict(state)


def test_w0_is_not_saved_and_alpha_is():
    model = mix_pretrained(build(FAMILIES["bert"]), {"classifier.weight"}, ones)
    keys = set(model.state_dict())
    assert not any("pretrained" in key for key in keys)
    assert set(alpha_parameters(model)) <= keys
    assert {"bert.pooler.dense.a1", "bert.pooler.dense.a2"} <= set(alpha_tensors(model))


@pytest.mark.parametrize("form", ["product", "convex"])
def test_only_the_convex_form_leaves_w0_as_it_is(form):
    model = build(FAMILIES["bert"])
    mix_pretrained(model, {"classifier.weight"}, lambda s: init_alpha(s, 1, torch.rand, -0.3), form)
    for name, layer in mixed_linears(model):
        kept = torch.equal(layer.mixed_weight(), layer.pretrained)
        assert kept == (form == "convex"), name


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_survives_mixing_and_merging(training):
    model = build(FAMILIES["bert"]).train(training)
    mix_pretrained(model, {"classifier.weight"}, ones)
    assert all(module.training == training for module in model.modules())
    assert all(module.training == training for module in merge(model).modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_library_does_not_mix_is_what_the_checkpoint_lacks(family, tmp_path):
    AutoModel.from_config(AutoConfig.for_model(**FAMILIES[family])).save_pretrained(tmp_path)
    model, report = AutoModelForSequenceClassification.from_pretrained(
        tmp_path, output_loading_info=True
    )
    lacking = report["missing_keys"]
    assert lacking
    one, other = mixed(model), mixed(model, fresh=lacking)
    layers = [name for name, _ in mixed_linears(one)]
    assert layers == [name for name, _ in mixed_linears(other)]
    linear = {n for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    assert linear - set(layers) == {n for n in linear if f"{n}.weight" in lacking}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 1.0, 1.0], "W"),
        ([0.0, 0.0, 0.0], "W0"),
        ([1.0, 1.0, 1 - 2**-24], "mixed"),  # the float32 next to it
        ([0.0, 0.0, 1e-30], "mixed"),
        ([1.0, 1.0, 0.0], "mixed"),
    ],
)
def test_alpha_has_collapsed_where_every_entry_is_at_one_bound(values, expected):
    first, *others = torch.tensor(values)
    alpha = {"a.a1": first.expand(3, 1), "a.a2": torch.stack(others)[None], "b.alpha": others[0]}
    assert mixture_state(alpha) == expected


def test_what_is_not_mixed_has_no_state():
    assert mixture_state({}) is None


@pytest.mark.parametrize(("bound", "state"), [(1.0, "W"), (0.0, "W0")])
@pytest.mark.parametrize("form", ["product", "convex"])
def test_a_collapsed_mixture_is_the_one_weight_or_the_other(bound, state, form):
    torch.manual_seed(0)
    w, w0 = torch.randn(4, 3), torch.randn(4, 3)
    alpha = (torch.full((4, 2), bound), torch.full((2, 3), bound))
    assert mixture_state({"a1": alpha[0], "a2": alpha[1]}) == state
    assert torch.equal(mix(w, w0, alpha, form), w if state == "W" else w0)
