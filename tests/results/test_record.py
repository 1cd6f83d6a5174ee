import csv
import json
import os
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from agwm.atomic import write_atomically
from agwm.results.record import Cost, Record, git_state, read_record, versions

FIELDS = {
    *("schema_version", "status", "task", "model", "method", "n_train", "seed", "sweep"),
    *(
        "headline",
        "metrics",
        "phases",
        "cost",
        "peak_memory_bytes",
        "config_hash",
        "cell_hash",
        "variant",
    ),
    *("subsample_hash", "versions", "git", "device", "started_at", "finished_at", "error"),
    "baseline",
    "degenerate",
    "mixture",
    *("data_hash", "start_hash", "weights_hash", "machine"),
}
COST = {"forward_passes", "backward_passes", "optimizer_steps", "train_seconds", "total_seconds"}


def record(**values):
    cell = {"task": "cola", "model": "tiny", "method": "agwm", "n_train": None, "sweep": "single"}
    return Record(status="ok", seed=0, config_hash="0" * 12, cell_hash="1" * 12, **(cell | values))


def git(folder, *arguments):
    identity = {
        f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    environment = os.environ | identity | {"GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "-C", folder, *arguments], check=True, env=environment)


def test_the_record_has_the_documented_fields():
    assert {field.name for field in fields(Record)} == FIELDS
    assert {field.name for field in fields(Cost)} == COST


def test_a_record_is_read_as_it_was_written(tmp_path):
    written = record(metrics={"accuracy": 0.5}, cost=Cost(forward_passes=3))
    written.write(tmp_path)
    found = read_record(tmp_path)
    assert found.keys() == FIELDS and found["schema_version"] == 1
    assert found["metrics"] == {"accuracy": 0.5} and found["cost"]["forward_passes"] == 3
    assert found["n_train"] is None and found["seed"] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize("content", [None, b"", b'{"status": "ok", "seed"', b"\xff\xfe"], ids=repr)
def test_a_record_that_cannot_be_read_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("content", [b"[]", b"3", b"null"], ids=repr)
def test_what_is_no_record_is_none(tmp_path, content):
    (tmp_path / "record.json").write_bytes(content)
    assert read_record(tmp_path) is None


@pytest.mark.parametrize("broken", ["replace", "fsync"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, broken):
    target = tmp_path / "record.json"
    write_atomically(target, "old")

    def full(*_):
        assert target.read_text() == "old"
        raise OSError("no space left on device")

    monkeypatch.setattr(*((Path, "replace") if broken == "replace" else (os, "fsync")), full)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(target, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert target.read_text() == "old"


def test_a_write_replaces_the_old_file(tmp_path):
    for text in ("old, and longer", "né"):
        write_atomically(tmp_path / "record.json", text)
    assert (tmp_path / "record.json").read_bytes() == "né".encode()
    assert len(list(tmp_path.iterdir())) == 1


def test_the_versions_are_those_installed():
    import torch

    found = versions()
    assert found["torch"] == torch.__version__
    assert {"python", "agwm", "lightning", "transformers", "datasets", "numpy"} <= found.keys()


def test_there_is_no_git_state_outside_a_checkout(tmp_path):
    assert git_state(tmp_path) is None
    assert git_state(tmp_path / "nosuch") is None


@pytest.fixture
def committed(tmp_path):
    """A file in a checkout of its own."""
    git(tmp_path, "init", "--quiet")
    (tmp_path / "file").write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    return tmp_path / "file"


def test_the_git_state_tells_the_commit_and_whether_it_is_dirty(committed):
    clean = git_state(committed.parent)
    assert len(clean["commit"]) == 40 and clean["dirty"] is False
    committed.write_text("two")
    assert git_state(committed.parent) == clean | {"dirty": True}


def test_the_git_state_is_had_without_a_lock(committed):
    os.utime(committed, (1, 1))  # git would write that into its index, for the next time
    index = committed.parent / ".git" / "index"
    before = index.read_bytes()
    assert git_state(committed.parent)["dirty"] is False
    assert index.read_bytes() == before


def test_a_package_inside_another_checkout_has_no_git_state(tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "one")
    (tmp_path / "site-packages").mkdir()
    assert git_state(tmp_path / "site-packages") is None


def test_a_run_fills_its_record_and_its_metrics(tiny_run):
    found, folder = tiny_run("method=agwm", "method.num_searches=2", "method.search_epochs=1")
    assert json.loads((folder / "record.json").read_text())["config_hash"] == found.config_hash
    assert found.status == "ok" and found.error is None
    assert found.headline["name"] == "matthews_corrcoef"
    assert found.headline["value"] == 100 * found.metrics["matthews_corrcoef"]
    assert [phase["name"] for phase in found.phases] == ["search 1/2", "search 2/2", "finetune"]
    assert [phase["steps"] for phase in found.phases] == [2, 2, 3]
    # Four of each in a search step, one in fine-tuning; two optimizer steps in a search step.
    assert found.cost.forward_passes == found.cost.backward_passes == 2 * 2 * 4 + 3
    assert found.cost.optimizer_steps == 2 * 2 * 2 + 3
    assert found.cost.total_seconds > found.cost.train_seconds > 0
    assert found.started_at <= found.finished_at

    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"phase", "step", "lr", "loss", "inner_loss", "outer_loss", "alpha_mean"} <= set(rows[0])
    steps = [(row["phase"], int(row["step"])) for row in rows]
    assert steps == [("search", step) for step in range(1, 5)] + [
        ("finetune", step) for step in range(1, 4)
    ]
    for row in rows:
        filled = ("loss", "inner_loss") if row["phase"] == "finetune" else ("inner_loss", "loss")
        assert row[filled[0]] and not row[filled[1]] and row["lr"]
    assert [row["k"] for row in rows if row["phase"] == "search"] == ["1.0", "1.0", "2.0", "2.0"]
