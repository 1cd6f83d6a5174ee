import json
import os

import pytest
from wandb_file import key_of, offline_runs, read_wandb

KEY = "x" * 40
OVERRIDES = ("method=agwm", "method.num_searches=1", "method.search_epochs=1", "logger=wandb")


@pytest.fixture
def logged(tiny_run, monkeypatch):
    """Record, folder and W&B records of one run, with an API key in the environment."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("AGWM_TEST_SECRET", "a-secret-of-the-environment")
    record, folder = tiny_run(*OVERRIDES, "seed=3")
    (path,) = offline_runs(folder)
    return record, folder, read_wandb(path)


def test_an_offline_run_is_complete_and_tells_nothing_private(logged):
    record, folder, records = logged
    (run,) = [found.run for found in records if found.WhichOneof("record_type") == "run"][:1]
    assert run.run_group == "single/acceptability/tiny/" + folder.parts[-3] + "/n40"
    assert run.job_type == "train"
    assert run.run_group.split("/")[3].startswith("agwm") and "seed" not in run.run_group
    assert run.display_name.endswith("seed3")
    assert set(run.tags) == {"acceptability", "tiny", "agwm", "n40"}
    assert record.config_hash in run.run_id
    config = {key_of(item): json.loads(item.value_json) for item in run.config.update}
    assert config["seed"] == 3 and config["method"]["num_searches"] == 1
    # As the preset has it, not null.
    assert config["method"]["hypergradient"] == "finite_difference"

    axes = {
        found.metric.name or found.metric.glob_name: found.metric.step_metric
        for found in records
        if found.WhichOneof("record_type") == "metric"
    }
    assert axes["search/*"] == "search/step" and axes["finetune/*"] == "finetune/step"

    history = [
        {key_of(item): json.loads(item.value_json) for item in found.history.item}
        for found in records
        if found.WhichOneof("record_type") == "history"
    ]
    assert [row["search/step"] for row in history if "search/step" in row] == [1, 2]
    assert [row["finetune/step"] for row in history if "finetune/step" in row] == [1, 2, 3]
    assert not any("search/step" in row and "finetune/step" in row for row in history)

    summary = {}
    for found in records:
        if found.WhichOneof("record_type") == "summary":
            summary |= {key_of(item): json.loads(item.value_json) for item in found.summary.update}
    assert summary["headline"] == pytest.approx(record.headline["value"])
    assert summary["cost/passes"] == record.cost.forward_passes + record.cost.backward_passes
    assert summary["degenerate"] is record.degenerate
    assert summary["eval/accuracy"] == pytest.approx(record.metrics["accuracy"])
    assert any(found.WhichOneof("record_type") == "exit" for found in records)

    private = [KEY, "a-secret-of-the-environment"]
    private += [value for name, value in os.environ.items() if private_name(name, value)]
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for value in private:
                assert value.encode() not in content, path.relative_to(folder)


def private_name(name, value):
    """Whether a value is long and odd enough to be found by no accident; paths are no secret."""
    return len(value) >= 16 and "/" not in value and name != "PYTEST_CURRENT_TEST"


def test_two_runs_of_one_process_are_two_offline_runs(tiny_run):
    folders = [tiny_run("method=vanilla", "logger=wandb", f"seed={seed}")[1] for seed in (0, 1)]
    runs = [offline_runs(folder) for folder in folders]
    assert [len(found) for found in runs] == [1, 1]
    identifiers = set()
    for (path,) in runs:
        records = read_wandb(path)
        identifiers |= {r.run.run_id for r in records if r.WhichOneof("record_type") == "run"}
        steps = [r for r in records if r.WhichOneof("record_type") == "history"]
        assert len(steps) >= 3
    assert len(identifiers) == 2


def test_a_run_that_fails_is_told_in_one_line_and_is_failed_in_wandb(cli, tmp_path):
    given = ("model=tiny", "task=acceptability", "n_train=40", "method=vanilla", "logger=wandb")
    broken = ("optim.lr=1e30", "optim.max_grad_norm=inf", "optim.epochs=9")
    # W&B's process, started by an earlier test, has a working directory of its own.
    place = f"runs_dir={tmp_path / 'runs'}"
    code, _, err = cli(*given, *broken, "trainer.progress=false", place)
    assert code == 1 and err.startswith("error: RunError: ") and err.count("\n") == 1, err
    (path,) = offline_runs(next(tmp_path.rglob("record.json")).parent)
    (ended,) = (record for record in read_wandb(path) if record.HasField("exit"))
    assert ended.exit.exit_code == 1


def test_nothing_of_wandb_is_written_where_it_is_not_asked_for(tiny_run):
    _, folder = tiny_run("method=vanilla", "logger=none")
    assert not [path for path in folder.rglob("*") if "wandb" in path.name]


def test_tensorboard_writes_below_the_run(tiny_run):
    pytest.importorskip("tensorboard")
    _, folder = tiny_run("method=vanilla", "logger=tensorboard")
    assert list((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert (folder / "metrics.csv").is_file()
