"""XLNet's attention, whose matrices are raw parameters of three dimensions, in the mixture."""

import copy

import pytest
import torch
from families import FAMILIES
from safetensors.torch import load_file
from torch.func import functional_call
from transformers import AutoConfig, AutoModelForSequenceClassification

from agwm.errors import UserError
from agwm.models.mixed import (
    alpha_parameters,
    alpha_tensors,
    fix_alpha,
    merge,
    mix_attention,
    mix_pretrained,
    mixtures,
)
from agwm.numerics.mixing import init_alpha

MATRICES = [f"transformer.layer.{i}.rel_attn.{part}" for i in range(2) for part in "qkvor"]
HEAD = frozenset({"sequence_summary.summary.weight", "logits_proj.weight"})
BATCH = {"input_ids": torch.arange(5, 26).view(3, 7), "attention_mask": torch.ones(3, 7)}


def plain(family="xlnet"):
    """In float64 and eval mode; nothing is at the value that it is made with."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(**FAMILIES[family], num_labels=2)
    model = AutoModelForSequenceClassification.from_config(config).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def drawn(rank):
    return lambda shape: tuple(a.double() for a in init_alpha(shape, rank, torch.randn, 0.3, 0.6))


def ones(shape):
    return tuple(a.double() for a in init_alpha(shape, 1, torch.zeros, 0.0))


def moved(model):
    """Every parameter but alpha off its start."""
    alpha = alpha_parameters(model)
    for name, parameter in model.named_parameters():
        if name not in alpha:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def weights(model):
    return {name: model.get_submodule(name[:-2]).get_parameter(name[-1]) for name in MATRICES}


def logits(model):
    with torch.no_grad():
        return model(**BATCH).logits


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("form", "rank"),
    [("product", 1), ("product", 2), ("convex", 1), ("convex", 2), ("convex", "full")],
)
def test_outputs_and_gradients_are_those_of_the_explicit_mixture(form, rank, fixed):
    model = plain()
    start = {name: w.detach().clone() for name, w in weights(model).items()}
    assert mix_attention(model, HEAD, drawn(rank), form) == len(MATRICES) == 10
    alpha = {name: a.requires_grad_() for name, a in alpha_tensors(moved(model)).items()}
    bare = {
        name.replace(".parametrizations", "").removesuffix(".original"): p.detach().clone()
        for name, p in model.named_parameters()
        if ".alpha." not in name
    }
    own = {name: bare[name].requires_grad_() for name in MATRICES}
    for name, w0 in start.items():
        w, w0 = own[name].reshape(16, 16), w0.reshape(16, 16)
        if rank == "full":
            share = alpha[f"{name}.alpha"]
            other = 1 - share
        else:
            a1, a2 = alpha[f"{name}.a1"], alpha[f"{name}.a2"]
            share = a1 @ a2 / rank
            other = (1 - a1) @ (1 - a2) / rank if form == "product" else 1 - share
        mixed = share * w + other * w0
        assert (mixed - w).abs().max() > 1e-2
        bare[name] = mixed.reshape(16, 2, 8)
    batch = BATCH | {"labels": torch.tensor([0, 1, 1])}
    expected = functional_call(plain(), bare, kwargs=batch)
    found = (fix_alpha(model) if fixed else model)(**batch)
    torch.testing.assert_close(found.logits, expected.logits, rtol=1e-12, atol=1e-12)
    found.loss.backward()
    expected.loss.backward()
    for name, w in own.items():
        attention, part = model.get_submodule(name[:-2]), name[-1]
        grad = attention.parametrizations[part].original.grad
        torch.testing.assert_close(grad, w.grad, rtol=1e-10, atol=1e-14, msg=name)
    alphas = alpha_parameters(model).values()
    for (name, a), mine in zip(alpha.items(), alphas, strict=True):
        if fixed:
            assert mine.grad is None
        else:
            torch.testing.assert_close(mine.grad, a.grad, rtol=1e-10, atol=1e-14, msg=name)


def test_at_alpha_one_the_matrices_are_w_bit_for_bit():
    model = plain()
    mix_pretrained(model, HEAD, ones)
    mix_attention(model, HEAD, ones)
    assert torch.equal(logits(model), logits(plain()))
    own = logits(moved(model))
    assert not torch.equal(own, logits(plain()))
    assert torch.equal(logits(fix_alpha(copy.deepcopy(model))), own)
    for name in MATRICES:
        attention = model.get_submodule(name[:-2])
        assert torch.equal(
            getattr(attention, name[-1]), attention.parametrizations[name[-1]].original
        )


@pytest.mark.parametrize("fixed", [False, True])
def test_what_is_merged_is_an_ordinary_model_with_the_mixed_matrices(tmp_path, fixed):
    model = plain()
    state, kinds = (
        {n: t.shape for n, t in model.state_dict().items()},
        [*map(type, model.modules())],
    )
    mix_pretrained(model, HEAD, drawn(1))
    mix_attention(model, HEAD, drawn(1))
    before = logits(moved(fix_alpha(model) if fixed else model))
    merged = merge(model)
    assert {n: t.shape for n, t in merged.state_dict().items()} == state
    assert [*map(type, merged.modules())] == kinds
    assert torch.equal(logits(merged), before)
    merged.float().save_pretrained(tmp_path)
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert (logits(again) - before).abs().max() < 1e-5


@pytest.mark.parametrize("training", [True, False])
def test_mode_names_and_trained_parameters_are_kept(training):
    model = plain().train(training)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    mix_attention(model, HEAD, ones)
    assert [name for name, _ in mixtures(model)] == MATRICES
    assert all(module.training == training for module in model.modules())
    found = dict(model.named_parameters())
    alpha = alpha_parameters(model)
    assert len(alpha) == 2 * len(MATRICES) and alpha.keys() <= found.keys()
    others = {n.replace(".parametrizations", "").removesuffix(".original") for n in found} - {
        n.replace(".parametrizations", "") for n in alpha
    }
    assert others == trained
    # W0 comes from the checkpoint again; W and alpha are what is saved.
    assert set(model.state_dict()) == found.keys()
    frozen = {n for n, p in fix_alpha(model).named_parameters() if not p.requires_grad}
    assert frozen == alpha.keys()
    assert all(module.training == training for module in merge(model).modules())


def test_a_matrix_that_no_checkpoint_holds_is_left_alone():
    model = plain()
    assert mix_attention(model, HEAD | {MATRICES[0], MATRICES[7]}, ones) == 8
    assert [n for n, _ in mixtures(model)] == [n for i, n in enumerate(MATRICES) if i not in (0, 7)]


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"xlnet"}))
def test_no_other_family_has_such_parameters(family):
    assert mix_attention(plain(family), frozenset(), ones) == 0


@pytest.mark.parametrize("method", ["agwm", "joint", "random_alpha"])
def test_it_is_refused_in_one_line_for_another_model(tiny_run, method):
    with pytest.raises(UserError, match=r"^method.xlnet_attention=true: bert has no .* leave it f"):
        tiny_run(f"method={method}", "method.xlnet_attention=true")


@pytest.mark.parametrize("method", ["joint", "random_alpha"])
def test_at_the_neutral_setting_a_run_is_vanilla_s_bit_for_bit(tiny_run, method):
    neutral = ["method.alpha_init_std=0"] + (["method.alpha_lr=0"] if method == "joint" else [])
    runs = (
        tiny_run(*overrides, "n_train=20", architecture=FAMILIES["xlnet"])[1]
        for overrides in (
            ["method=vanilla"],
            [f"method={method}", "method.xlnet_attention=true", *neutral],
        )
    )
    vanilla, mixed = (load_file(folder / "model" / "model.safetensors") for folder in runs)
    assert vanilla.keys() == mixed.keys()
    assert all(torch.equal(vanilla[name], mixed[name]) for name in vanilla)


def test_a_run_learns_alpha_of_the_attention_too(tiny_run):
    overrides = ["method=agwm", "method.num_searches=2", "method.search_epochs=1", "n_train=20"]
    folders = [
        tiny_run(*overrides, *more, architecture=FAMILIES["xlnet"])[1]
        for more in ([], ["method.xlnet_attention=true"])
    ]
    without, found = (load_file(folder / "alpha.safetensors") for folder in folders)
    own = {f"{name}.{factor}" for name in MATRICES for factor in ("a1", "a2")}
    assert found.keys() - without.keys() == own
    assert all(0 < found[name].std() and found[name].max() <= 1 for name in own)
