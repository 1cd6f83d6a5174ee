import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

import agwm

TINY = ("model=tiny", "n_train=40", "logger=none")
SEARCH = (*TINY, "method.num_searches=1", "method.search_epochs=1")
CELL = "runs/single/acceptability/tiny/agwm+num_searches=1+search_epochs=1/n40/seed0"
HEAVY = (
    "import sys; from agwm import train\ntry: train.main()\nfinally: print('torch' in sys.modules)"
)


def shell(folder, *command):
    path = str(Path(agwm.__file__).parents[1])
    return subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


def snapshot(folder):
    return {
        path.relative_to(folder): (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file() and path.name != "train.log"
    }


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Working directory in which one run was made, and what the command said."""
    folder = tmp_path_factory.mktemp("work")
    return folder, shell(folder, "-m", "agwm.train", *SEARCH)


@pytest.fixture
def sst2(tmp_path):
    """`sst2(row=None)`: write a data directory, with `row` as line 3 of the training file."""

    def written(row=None):
        folder = tmp_path / "data" / "sst2"
        folder.mkdir(parents=True, exist_ok=True)
        good = [json.dumps({"sentence": f"word {n}", "label": n % 2}) for n in range(48)]
        lines = good if row is None else [*good[:2], row, *good[3:]]
        (folder / "train.jsonl").write_text("\n".join(lines))
        (folder / "validation.jsonl").write_text("\n".join(good))
        return "data_dir=data"

    return written


def read(folder):
    return json.loads((folder / "record.json").read_text())


def error_lines(stderr):
    return [line for line in stderr.splitlines() if "error" in line.lower()]


def test_a_run_writes_exactly_the_documented_files(finished):
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert names(folder / CELL) == [
        *("alpha.safetensors", "config.yaml", "metrics.csv", "model", "page.html", "plots"),
        *("predictions.jsonl", "record.json", "train.log"),
    ]
    plots = ["alpha.png", "alpha_course.png", "learning_curves.png"]
    assert names(folder / CELL / "plots") == plots
    assert names(folder / CELL / "model") == [
        *("README.md", "agwm.json", "config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json"),
    ]


def test_a_run_writes_nothing_outside_the_directory_of_runs(finished):
    assert names(finished[0]) == ["runs"]


def test_a_run_tells_its_result_and_where_it_lies(finished):
    folder, result = finished
    record = read(folder / CELL)
    assert f"{record['headline']['value']:.2f}" in result.stdout
    assert f"record: {CELL}/record.json" in result.stdout
    assert f"model:  {CELL}/model" in result.stdout
    assert f"page:   {CELL}/page.html" in result.stdout
    value = f"<b>{record['headline']['value']:.2f}</b>"
    assert value in (folder / CELL / "page.html").read_text()
    assert "finetune: 3 steps" in result.stderr and "search 1/1: 2 steps" in result.stderr


def test_predictions_are_of_the_evaluation_split_in_its_order(finished):
    folder, _ = finished
    rows = [json.loads(line) for line in (folder / CELL / "predictions.jsonl").open()]
    assert [row["id"] for row in rows] == list(range(1008))
    for row in rows:
        assert list(row) == ["id", "label", "prediction", "scores"]
        assert row["prediction"] == row["scores"].index(max(row["scores"]))
        assert sum(row["scores"]) == pytest.approx(1, abs=1e-5)
    accuracy = sum(row["label"] == row["prediction"] for row in rows) / len(rows)
    assert read(folder / CELL)["metrics"]["accuracy"] == pytest.approx(accuracy)


def test_the_written_configuration_is_resolved_and_holds_what_the_preset_chose(finished):
    folder, _ = finished
    text = (folder / CELL / "config.yaml").read_text()
    config = OmegaConf.create(text)
    assert "${" not in text and config.method.finetune_epochs == 1
    assert config.method.order == "w_alpha" and config.n_train == 40


def test_a_finished_run_is_not_run_again_and_nothing_heavy_is_imported(finished):
    folder, _ = finished
    before = snapshot(folder)
    result = shell(folder, "-c", HEAVY, *SEARCH)
    assert result.returncode == 0 and not result.stderr
    assert f"finished already: {CELL} (matthews_corrcoef " in result.stdout
    assert result.stdout.splitlines()[-1] == "False"
    assert snapshot(folder) == before


def test_another_configuration_in_the_same_folder_is_refused(finished):
    folder, _ = finished
    before = snapshot(folder)
    result = shell(folder, "-m", "agwm.train", *SEARCH, "trainer.threads=1")
    assert result.returncode == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {CELL}: holds a finished run of another configuration")
    assert "force=true" in line and read(folder / CELL)["config_hash"] in line
    assert snapshot(folder) == before


def test_force_runs_again_to_the_same_figures(cli, tmp_path):
    assert cli("method=vanilla", *TINY)[0] == 0
    folder = tmp_path / "runs/single/acceptability/tiny/vanilla/n40/seed0"
    predictions = (folder / "predictions.jsonl").read_bytes()
    (folder / "predictions.jsonl").unlink()
    for stale in ("page.html", "plots/alpha.png"):
        (folder / stale).write_text("of an earlier run")
    assert "finished already" in cli("method=vanilla", *TINY)[1]
    code, stdout, _ = cli("method=vanilla", *TINY, "force=true")
    assert code == 0 and "finished already" not in stdout
    assert (folder / "predictions.jsonl").read_bytes() == predictions
    assert names(folder / "plots") == ["learning_curves.png"]
    assert "of an earlier run" not in (folder / "page.html").read_text()


def test_a_run_that_cannot_be_drawn_is_a_run_all_the_same(cli, tmp_path, monkeypatch):
    def fails(*_):
        raise ValueError("no\nink")

    assert cli("method=vanilla", *TINY)[0] == 0
    monkeypatch.setattr("agwm.report.run_page.write_run_page", fails)
    code, stdout, stderr = cli("method=vanilla", *TINY, "force=true")
    folder = "runs/single/acceptability/tiny/vanilla/n40/seed0"
    assert code == 0 and f"record: {folder}/record.json" in stdout and "page:" not in stdout
    (line,) = [line for line in stderr.splitlines() if "warning" in line]
    assert line == f"warning: {folder}: its page was not written (ValueError: no: ink)"
    assert {"page.html", "plots"}.isdisjoint(names(tmp_path / folder))
    assert read(tmp_path / folder)["status"] == "ok"


def test_a_failed_run_says_why_and_succeeds_once_it_is_mended(cli, sst2, tmp_path, recwarn):
    argv = ("task=sst2", "method=vanilla", *TINY, sst2('{"sentence": "no label"}'))
    code, stdout, stderr = cli(*argv)
    assert code == 2 and not stdout
    (line,) = stderr.splitlines()
    assert line.startswith("error: ") and "train.jsonl, row 3: label is None" in line

    folder = tmp_path / "runs/single/sst2/tiny/vanilla/n40/seed0"
    failed = read(folder)
    assert failed["status"] == "failed" and "row 3: label is None" in failed["error"]
    assert failed["headline"] is None and failed["metrics"] == {} and failed["finished_at"]
    assert "Traceback" in (folder / "error.txt").read_text()
    assert {"predictions.jsonl", "model"}.isdisjoint(names(folder))

    sst2()
    code, stdout, stderr = cli(*argv)
    assert code == 0, stderr
    assert "error.txt" not in names(folder) and "model" in names(folder)
    assert read(folder)["status"] == "ok" and read(folder)["error"] is None
    assert not [warned for warned in recwarn if "logs directory" in str(warned.message)]


def test_a_failed_rerun_leaves_no_figures_of_the_run_before(cli, sst2, tmp_path):
    argv = ("task=sst2", "method=vanilla", *TINY, sst2())
    assert cli(*argv)[0] == 0
    sst2("not JSON")
    code, _, stderr = cli(*argv, "force=true")
    assert code == 2 and "line 3: not JSON" in stderr
    folder = tmp_path / "runs/single/sst2/tiny/vanilla/n40/seed0"
    assert read(folder)["status"] == "failed"
    assert {"predictions.jsonl", "model", "metrics.csv"}.isdisjoint(names(folder))


def test_a_failing_job_of_a_multirun_does_not_stop_the_others(cli, sst2, tmp_path):
    code, stdout, stderr = cli(
        *("-m", "task=sst2,acceptability", "seed=0,1", "method=vanilla", "hydra/launcher=basic"),
        *(*TINY, sst2("[]")),
    )
    assert code == 1
    assert len(error_lines(stderr)) == 2
    assert "4 runs: 2 finished, 2 failed" in stdout
    assert stdout.count("failed: runs/single/sst2/tiny/vanilla/n40/seed") == 2
    found = {
        (record["task"], record["seed"]): record["status"]
        for record in map(read, (path.parent for path in tmp_path.rglob("record.json")))
    }
    assert found == {
        ("sst2", 0): "failed",
        ("sst2", 1): "failed",
        ("acceptability", 0): "ok",
        ("acceptability", 1): "ok",
    }


def test_a_multirun_with_a_wrong_configuration_launches_nothing(cli, tmp_path):
    code, _, stderr = cli("-m", "optim.lr=0.001,-1", "method=vanilla", *TINY)
    assert code == 2
    assert error_lines(stderr) == ["error: optim.lr=-1.0: must be a number >= 0"]
    assert not list(tmp_path.iterdir())


def test_a_multirun_over_an_unknown_method_names_it(cli):
    code, _, stderr = cli("-m", "method=vanilla,nosuch", *TINY)
    (line,) = error_lines(stderr)
    assert code == 2 and "nosuch" in line and "vanilla" in line


def test_a_failure_of_the_run_itself_has_exit_code_one(cli, tmp_path):
    code, _, stderr = cli(
        *("method=vanilla", "optim.lr=1e30", "optim.max_grad_norm=inf", "optim.epochs=9"), *TINY
    )
    assert code == 1
    (line,) = error_lines(stderr)
    assert "the loss is nan" in line and "error.txt" in line
    (path,) = tmp_path.rglob("record.json")
    assert read(path.parent)["status"] == "failed"
    assert (path.parent / "error.txt").is_file()
    assert "the loss is nan" in (path.parent / "page.html").read_text()


def test_the_paper_job_without_a_network_says_what_is_missing_and_how_to_give_it(cli):
    code, _, stderr = cli("task=cola", "model=bert_large", "logger=none")
    (line,) = error_lines(stderr)
    assert code == 2 and line.startswith("error: ")
    assert "task=cola" in line and "data_dir=FOLDER" in line and "cola/train.jsonl" in line


def test_a_model_that_cannot_be_had_says_what_to_do(cli, sst2):
    code, _, stderr = cli("task=sst2", "model=bert_large", "n_train=40", "logger=none", sst2())
    (line,) = error_lines(stderr)
    assert code == 2 and line.startswith("error: model.name_or_path=google-bert/bert-large-cased")
    assert "hf download google-bert/bert-large-cased" in line


@pytest.mark.parametrize(("extra", "plugin"), [("slurm", "submitit_slurm"), ("ray", "ray")])
def test_a_launcher_that_is_not_installed_names_its_extra(cli, monkeypatch, extra, plugin):
    Plugins.instance()  # registers those that are
    launchers = ConfigStore.instance().repo["hydra"]["launcher"]
    monkeypatch.delitem(launchers, f"{plugin}.yaml", raising=False)
    code, _, stderr = cli("-m", f"hydra/launcher=agwm_{extra}", "seed=0,1")
    assert code == 2
    assert stderr == (
        f"error: hydra/launcher=agwm_{extra}: not installed; pip install 'agwm[{extra}]'\n"
    )
