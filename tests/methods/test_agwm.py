import json

import pytest
import torch
from safetensors.torch import load_file

from agwm.data.datamodule import GlueDataModule
from agwm.errors import UserError
from agwm.method import build_method
from agwm.models.mixed import alpha_parameters
from agwm.numerics.mixing import mix
from agwm.training.runner import LightningRunner

SHORT = ("method=agwm", "method.num_searches=2", "method.search_epochs=1")


@pytest.fixture
def fits(monkeypatch):
    """Copies of the model's state: at each fit's start and end, and where it is evaluated.

    "phase" has the fine-tunings' phases.
    """
    seen = {kind: [] for kind in ("search", "searched", "finetune", "finetuned", "predict")}
    seen["phase"] = []

    def state(model):
        return {name: tensor.clone() for name, tensor in model.state_dict().items()}

    search, finetune = LightningRunner.search, LightningRunner.finetune
    predict = LightningRunner.predict

    def watched_search(runner, model, settings, k, phase):
        seen["search"].append(state(model))
        search(runner, model, settings, k, phase)
        seen["searched"].append(state(model))

    def watched_finetune(runner, model, method, phase):
        seen["finetune"].append(state(model))
        finetune(runner, model, method, phase)
        seen["finetuned"].append(state(model))
        seen["phase"].append(phase)

    def watched_predict(runner, model, split):
        seen["predict"].append(state(model))
        return predict(runner, model, split)

    monkeypatch.setattr(LightningRunner, "search", watched_search)
    monkeypatch.setattr(LightningRunner, "finetune", watched_finetune)
    monkeypatch.setattr(LightningRunner, "predict", watched_predict)
    return seen


def read_scores(folder):
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line)["scores"] for line in lines]


def test_searches_start_from_one_model_and_one_head_with_their_own_alpha(tiny_run, fits):
    tiny_run(*SHORT)
    first, second = fits["search"]
    for name in first:
        assert torch.equal(first[name], second[name]) != (".alpha." in name), name


@pytest.mark.parametrize(("key", "disjoint"), [("true", True), ("false", False), ("null", False)])
def test_cross_fit_gives_no_two_searches_an_example_for_alpha(tiny_run, monkeypatch, key, disjoint):
    held_out = []
    real = GlueDataModule.search_dataloader

    def watched(data, *settings):
        loader = real(data, *settings)
        held_out.append(set(loader.iterables["outer"].sampler.indices))
        return loader

    monkeypatch.setattr(GlueDataModule, "search_dataloader", watched)
    tiny_run(*SHORT, "method.inner_fraction=0.5", f"method.cross_fit={key}")
    first, second = held_out
    assert first.isdisjoint(second) == disjoint


def test_fine_tuning_starts_from_the_mean_and_keeps_alpha(tiny_run, fits):
    tiny_run(*SHORT)
    (start,), (end,) = fits["finetune"], fits["finetuned"]
    one, other = fits["searched"]
    for name, tensor in start.items():
        torch.testing.assert_close(tensor, (one[name] + other[name]) / 2, msg=name)
        if ".alpha." in name:
            assert torch.equal(tensor, end[name]), name
    assert not torch.equal(start["classifier.weight"], end["classifier.weight"])


def test_average_alpha_keeps_the_pretrained_weights(tiny_run, fits):
    tiny_run(*SHORT, "method.average=alpha")
    (start,), begun = fits["finetune"], fits["search"][0]
    one, other = fits["searched"]
    for name, tensor in start.items():
        if ".alpha." in name:
            torch.testing.assert_close(tensor, (one[name] + other[name]) / 2)
        else:
            assert torch.equal(tensor, begun[name]), name


def test_fine_tuning_has_a_learning_rate_of_its_own(tiny_run, fits):
    runs = [tiny_run(*SHORT, *more)[1] for more in ([], ["method.finetune_lr=1e-3"])]
    assert read_scores(runs[0]) == read_scores(runs[1])  # the recipe's
    tiny_run(*SHORT, "method.finetune_lr=0")
    one, same, still = zip(fits["finetune"], fits["finetuned"], strict=True)
    for start, end in (one, same):
        assert not torch.equal(start["classifier.weight"], end["classifier.weight"])
    # The searches go on at the recipe's.
    for name, tensor in still[0].items():
        assert torch.equal(tensor, one[0][name]) and torch.equal(still[1][name], tensor), name


def test_several_fine_tunings_start_from_one_mean_and_are_averaged(tiny_run, fits):
    alone, _ = tiny_run(*SHORT)
    record, _ = tiny_run(*SHORT, "method.num_finetunes=2")
    names = ["search 1/2", "search 2/2", "finetune 1/2", "finetune 2/2"]
    assert [phase["name"] for phase in record.phases] == names
    assert record.cost.forward_passes == alone.cost.forward_passes + 3
    single, first, second = (phase.streams for phase in fits["phase"])
    assert single == first == () and second  # the first member is the fine-tuning of one
    starts, ends, result = fits["finetune"], fits["finetuned"], fits["predict"][-1]
    for name, tensor in starts[0].items():
        assert all(torch.equal(start[name], tensor) for start in starts), name
        assert torch.equal(ends[0][name], ends[1][name]), name
    assert not torch.equal(ends[1]["classifier.weight"], ends[2]["classifier.weight"])
    pretrained = fits["search"][0]
    for name, tensor in result.items():
        expected = (ends[1][name] + ends[2][name]) / 2
        alpha = [ends[1].get(f"{name.removesuffix('.weight')}.alpha.{index}") for index in (0, 1)]
        if alpha[0] is not None and name.endswith(".weight"):
            expected = mix(expected, pretrained[name], alpha, "product")
        torch.testing.assert_close(tensor, expected, msg=name)


def test_one_search_is_its_own_mean(tiny_run, fits):
    tiny_run("method=agwm", "method.num_searches=1", "method.search_epochs=1")
    (start,), (searched,) = fits["finetune"], fits["searched"]
    assert all(torch.equal(start[name], searched[name]) for name in start)


def test_exported_alpha_is_that_of_the_fine_tuned_model(tiny_run, fits):
    _, folder = tiny_run(*SHORT)
    saved = load_file(folder / "alpha.safetensors")
    end = fits["finetuned"][0]
    assert len(saved) == 2 * 13
    for name, tensor in saved.items():
        layer, _, part = name.rpartition(".")
        assert torch.equal(tensor, end[f"{layer}.alpha.{['a1', 'a2'].index(part)}"])


def test_phases_and_passes_are_counted(tiny_run):
    record, folder = tiny_run(*SHORT)  # 40 examples: 2 inner batches, 3 batches in fine-tuning
    assert [(phase["name"], phase["steps"]) for phase in record.phases] == [
        ("search 1/2", 2), ("search 2/2", 2), ("finetune", 3),
    ]  # fmt: skip
    assert record.cost.forward_passes == record.cost.backward_passes == 2 * 2 * 4 + 3
    assert record.cost.optimizer_steps == 2 * 2 * 2 + 3
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 + 3


def test_every_preset_runs_to_its_own_result(tiny_run):
    results = {"vanilla": read_scores(tiny_run("method=vanilla")[1])}
    for preset in ("paper", "released", "rollback", "first_order", "adam_unrolled"):
        record, folder = tiny_run(*SHORT, f"method.preset={preset}", "method.alpha_lr=0.1")
        scores = read_scores(folder)
        assert record.status == "ok" and torch.tensor(scores).isfinite().all(), preset
        assert [name for name, known in results.items() if known == scores] == [], preset
        results[preset] = scores


@pytest.mark.parametrize("rank", [2, "full", "row", "layer"])
@pytest.mark.parametrize("form", ["product", "convex"])
def test_any_rank_and_form_runs(tiny_run, rank, form):
    record, folder = tiny_run(*SHORT, f"method.rank={rank}", f"method.mix_form={form}")
    assert record.status == "ok"
    saved = load_file(folder / "alpha.safetensors")
    layer = "bert.pooler.dense"
    if rank == 2:
        assert saved[f"{layer}.a1"].shape == (16, 2)
    else:
        shape = {"full": (16, 16), "row": (16, 1), "layer": (1, 1)}[rank]
        assert saved[f"{layer}.alpha"].shape == shape


def test_a_switch_of_its_own_goes_over_the_preset(compose):
    config = compose("method.preset=released", "method.fd_center=w")
    method = build_method(config.method)
    assert (method.fd_center, method.order, method.alpha_weight_decay) == ("w", "released", 0.0)
    with pytest.raises(UserError, match=r"method.preset=betty: must be one of paper, released"):
        build_method(compose("method.preset=betty").method)


def test_alpha_of_a_search_follows_the_seed_and_its_number(tiny_run, fits):
    tiny_run(*SHORT)
    tiny_run(*SHORT, "seed=1")
    first, second, other, _ = fits["search"]
    name = "bert.pooler.dense.alpha.0"
    assert len({tuple(state[name].flatten().tolist()) for state in (first, second, other)}) == 3
    head = "classifier.weight"
    assert torch.equal(first[head], second[head]) and not torch.equal(first[head], other[head])


def test_frozen_alpha_gets_no_gradient_in_fine_tuning(tiny_run, monkeypatch):
    seen = []
    finetune = LightningRunner.finetune

    def watched(runner, model, method, phase):
        finetune(runner, model, method, phase)
        seen.extend(alpha.grad for alpha in alpha_parameters(model).values())

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    tiny_run(*SHORT)
    assert seen and all(grad is None for grad in seen)
