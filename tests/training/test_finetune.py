import csv

import pytest
import torch
from torch import nn
from transformers import get_linear_schedule_with_warmup

from agwm.config import Optim
from agwm.errors import RunError
from agwm.numerics.optim import adamw, weight_groups
from agwm.numerics.rng import seeded
from agwm.seeding import derive
from agwm.training.finetune import FineTuneModule, warmup_steps
from agwm.training.runner import LightningRunner


def optim(**changes):
    recipe = dict(lr=1e-3, epochs=3, batch_size=16, warmup_ratio=0.1, weight_decay=0.01)
    return Optim(**{**recipe, **changes})


@pytest.mark.parametrize(("total", "expected"), [(57, 6), (380, 38), (10, 1), (3, 1)])
def test_warmup_is_the_ratio_rounded_up_or_a_number_of_steps(total, expected):
    assert warmup_steps(optim(), total) == expected
    assert warmup_steps(optim(warmup_steps=7), total) == 7
    assert warmup_steps(optim(warmup_ratio=0.07), 100) == 7  # 0.07 * 100 > 7 in floating point


def test_a_run_equals_a_plain_loop_bit_for_bit(tiny_run, monkeypatch):
    """The recipe of the paper, written out, against what Lightning drives."""
    kept = {}
    finetune = LightningRunner.finetune

    def watched(runner, model, method, epochs=None):
        kept["start"] = runner.pretrained()
        kept["batches"] = []
        for epoch in range(2):
            loader = runner.data.train_dataloader()
            loader.sampler.set_epoch(epoch)
            kept["batches"] += list(loader)
        finetune(runner, model, method, epochs)
        kept["end"] = model

    monkeypatch.setattr(LightningRunner, "finetune", watched)
    tiny_run("method=vanilla", "optim.epochs=2", "seed=3", "optim.max_grad_norm=0.3")
    model = kept["start"].train()
    optimizer = adamw(weight_groups(model, 1e-3, 0.01))
    schedule = get_linear_schedule_with_warmup(optimizer, 1, 6)
    assert len(kept["batches"]) == 6
    for step, batch in enumerate(kept["batches"]):
        optimizer.zero_grad()
        with seeded(derive(3, "dropout", step)):
            model(**batch).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.3)
        optimizer.step()
        schedule.step()
    ended = kept["end"].state_dict()
    assert all(torch.equal(tensor, ended[name]) for name, tensor in model.state_dict().items())
    start = kept["start"].state_dict()
    assert start.keys() == ended.keys()


def test_dropout_is_on_though_the_model_is_loaded_in_eval_mode(tiny_run, monkeypatch):
    modes = []
    step = FineTuneModule.training_step

    def watched(module, batch, batch_idx):
        modes.extend(m.training for m in module.model.modules() if isinstance(m, nn.Dropout))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(FineTuneModule, "training_step", watched)
    tiny_run("method=vanilla")
    assert modes and all(modes)


def test_steps_end_a_run_in_the_middle_of_an_epoch(tiny_run):
    record, _ = tiny_run("method=vanilla", "optim.epochs=null", "optim.steps=7")
    assert [(p["name"], p["steps"]) for p in record.phases] == [("finetune", 7)]
    assert record.cost.forward_passes == record.cost.optimizer_steps == 7


def test_a_loss_that_is_not_finite_ends_the_run_as_failed(tiny_run, compose, tmp_path, monkeypatch):
    import json

    from agwm.methods.vanilla import Vanilla

    monkeypatch.setattr(
        Vanilla, "loss", lambda self, model, batch, step: model(**batch).loss * float("nan")
    )
    with pytest.raises(RunError, match="finetune, step 0: the loss is nan"):
        tiny_run("method=vanilla")
    (found,) = (tmp_path / "runs").rglob("record.json")
    record = json.loads(found.read_text())
    assert record["status"] == "failed" and record["headline"] is None
    assert "the loss is nan" in record["error"]
    assert "RunError" in (found.parent / "error.txt").read_text()
    assert not (found.parent / "predictions.jsonl").exists()
    assert not (found.parent / "model").exists()


def test_steps_of_warm_up_are_for_a_fit_of_the_recipe_s_length(tiny_run, monkeypatch):
    seen = []
    configure = FineTuneModule.configure_optimizers
    monkeypatch.setattr(
        FineTuneModule,
        "configure_optimizers",
        lambda module: seen.append(module.optim.warmup_steps) or configure(module),
    )
    for overrides in ([], ["method.epochs=1"], ["method.epochs=2"]):
        tiny_run("method=vanilla_long", "method.epochs=null", "optim.warmup_steps=2", *overrides)
    tiny_run("method=vanilla_matched", "method.matched.num_searches=1", "optim.warmup_steps=2")
    assert seen == [2, 2, None, None]


def test_the_log_counts_the_steps_of_all_fits(tiny_run):
    _, folder = tiny_run("method=model_soup", "method.members=2")
    with (folder / "metrics.csv").open() as file:
        assert [float(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3, 4, 5, 6]
