import json

import pytest
import torch

from agwm.data.sampling import StreamBatches
from agwm.errors import RunError
from agwm.identity import config_hash
from agwm.models.package import package_folder


def only_record(folder):
    (found,) = folder.rglob("record.json")
    return json.loads(found.read_text()), {path.name for path in found.parent.iterdir()}


@pytest.mark.parametrize("step", ["agwm.models.export.save_model", "agwm.run.log_summary"])
def test_what_fails_after_evaluation_leaves_no_number(tiny_run, tmp_path, monkeypatch, step):
    def fails(*_):
        raise OSError("no space left")

    monkeypatch.setattr(step, fails)
    with pytest.raises(OSError, match="no space left"):
        tiny_run("method=joint")
    record, names = only_record(tmp_path / "runs")
    assert record["status"] == "failed" and record["error"] == "OSError: no space left"
    assert record["headline"] is None and record["metrics"] == {} and record["baseline"] is None
    assert "error.txt" in names
    assert names.isdisjoint({"predictions.jsonl", "alpha.safetensors", "model"})


def test_outputs_that_are_not_finite_are_no_prediction(tiny_run, tmp_path, monkeypatch):
    def ruined(self, model):
        model.classifier.weight.data.fill_(float("nan"))
        return model

    monkeypatch.setattr("agwm.methods.vanilla.Vanilla.merge", ruined)
    told = "validation: the model's outputs are not finite .*: classifier.weight, 32 of 32"
    with pytest.raises(RunError, match=told):
        tiny_run("method=vanilla")
    assert only_record(tmp_path / "runs")[0]["status"] == "failed"


def test_a_gradient_that_is_not_finite_names_its_step(tiny_run, monkeypatch):
    from agwm.methods.vanilla import Vanilla

    def backward(self, model, batch, step, backward):
        loss = Vanilla.loss(self, model, batch, step)
        backward(loss)
        model.bert.pooler.dense.weight.grad[0, 0] = float("inf")
        model.classifier.weight.grad[0, 0] = float("nan")
        return loss.detach()

    monkeypatch.setattr(Vanilla, "backward", backward)
    with pytest.raises(RunError) as error:
        tiny_run("method=vanilla")
    assert str(error.value) == (
        "finetune, step 0: the norm of the gradient is nan "
        "(first gradient not finite: bert.pooler.dense.weight, 1 of 256 entries)"
    )


def test_a_name_of_one_s_own_is_not_overruled_by_the_offline_package(compose):
    assert package_folder(compose("model=minilm").model) is not None
    other = compose("model=minilm", "model.name_or_path=google-bert/bert-base-cased").model
    assert package_folder(other) is None


def test_threads_are_those_of_the_run_only(tiny_run, monkeypatch):
    seen, before = [], torch.get_num_threads()
    monkeypatch.setattr(
        "agwm.methods.vanilla.Vanilla.merge",
        lambda self, model: seen.append(torch.get_num_threads()) or model,
    )
    tiny_run("method=vanilla", f"trainer.threads={before + 1}")
    tiny_run("method=vanilla")
    assert seen == [before + 1, before] and torch.get_num_threads() == before


def test_a_record_names_its_variant_and_its_cell(tiny_run, compose):
    plain, _ = tiny_run("method=random_alpha")
    other, _ = tiny_run("method=random_alpha", "method.rank=2", "seed=1")
    assert plain.variant == [] and other.variant == ["rank=2"]
    again, _ = tiny_run("method=random_alpha", "seed=1")
    assert plain.cell_hash == again.cell_hash != other.cell_hash
    assert len({plain.config_hash, other.config_hash, again.config_hash}) == 3
    assert config_hash(compose("sweep=a")) == config_hash(compose("sweep=b"))


@pytest.mark.parametrize("hold", [1, 2, 4])
def test_every_outer_example_is_seen_by_a_search_that_looks_at_every_nth_batch(hold):
    batches = StreamBatches(list(range(60)), 16, 0, "outer", epoch_batches=15, hold=hold)
    seen = []
    for epoch in range(3):
        batches.set_epoch(epoch)
        seen += list(batches)
    looked_at = seen[hold - 1 :: hold]
    assert sorted(index for batch in looked_at[:4] for index in batch) == list(range(60))


@pytest.mark.parametrize("n_train", [21, 41, 61])
def test_the_plan_counts_the_steps_that_are_taken(tiny_run, n_train):
    from agwm.training.runner import LightningRunner

    plans = []
    made = LightningRunner.__init__

    def watched(runner, *arguments):
        made(runner, *arguments)
        plans.append([count for _, count, _ in runner.progress.plan])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LightningRunner, "__init__", watched)
        record, _ = tiny_run(
            "method=agwm", "method.num_searches=1", "method.search_epochs=1", f"n_train={n_train}",
            "optim.batch_size=16",
        )  # fmt: skip
    assert plans == [[phase["steps"] for phase in record.phases]]


@pytest.mark.parametrize(
    ("start", "alpha_lr", "mixture"),
    [(1, 0, "W"), (0, 0, "W0"), (1, 0.1, "mixed"), (0.5, 0, "mixed")],
)
def test_a_mixture_that_ended_at_a_bound_is_marked(tiny_run, capsys, start, alpha_lr, mixture):
    from agwm.report.run_page import write_run_page
    from agwm.results.summary import print_summary

    record, folder = tiny_run(
        "method=agwm", "method.num_searches=1", "method.alpha_init_std=0",
        f"method.alpha_init_mean={start}", f"method.alpha_lr={alpha_lr}",
    )  # fmt: skip
    assert record.mixture == mixture == json.loads((folder / "record.json").read_text())["mixture"]
    told = {"W": "the task weights alone", "W0": "the pretrained weights alone"}.get(mixture)
    capsys.readouterr()
    print_summary(record, folder)
    printed, page = " ".join(capsys.readouterr().out.split()), write_run_page(folder).read_text()
    for text in (printed, page):
        assert ("alpha ended at" in text) is (told is not None)
        assert told is None or told in text


def test_search_steps_without_an_outer_gradient_are_told(tiny_run, capsys, monkeypatch):
    from agwm.report.run_page import write_run_page
    from agwm.results.summary import print_summary
    from agwm.training.search_step import SearchStep

    short = ("method=agwm", "method.num_searches=2", "method.search_epochs=1")
    fine, _ = tiny_run(*short)
    assert [phase.get("zero_directions") for phase in fine.phases] == [0, 0, None]
    monkeypatch.setattr(
        SearchStep, "_preconditioned", lambda self, v, _: [torch.zeros_like(d) for d in v]
    )
    record, folder = tiny_run(*short, "sweep=zero")
    assert [phase.get("zero_directions") for phase in record.phases] == [2, 2, None]
    capsys.readouterr()
    print_summary(record, folder)
    assert "4 search steps had no outer gradient" in capsys.readouterr().out
    assert "4 search steps had no outer gradient" in write_run_page(folder).read_text()
    print_summary(fine, folder)
    assert "outer gradient" not in capsys.readouterr().out


@pytest.mark.parametrize(("bias", "degenerate"), [(0.0, False), (1e4, True)])
def test_a_model_that_predicts_the_same_for_every_text_is_marked(
    tiny_run, monkeypatch, bias, degenerate
):
    def shifted(self, model):
        torch.nn.init.normal_(model.classifier.weight, generator=torch.Generator().manual_seed(0))
        model.classifier.bias.data[1] += bias
        return model

    monkeypatch.setattr("agwm.methods.vanilla.Vanilla.merge", shifted)
    record, folder = tiny_run("method=vanilla")
    rows = map(json.loads, (folder / "predictions.jsonl").read_text().splitlines())
    assert (len({row["prediction"] for row in rows}) == 1) is degenerate
    assert record.degenerate is degenerate
