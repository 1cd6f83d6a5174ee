"""A run that was killed, started again, ends as one that was not; what it left is never half."""

import os
import random
import signal
import time

import pytest
from aftermath import results, whole

TINY = ("task=acceptability", "model=tiny", "n_train=40", "logger=none", "trainer.progress=false")
METHODS = {
    "agwm": ("method=agwm", "method.num_searches=3", "method.search_epochs=2"),
    "vanilla": ("method=vanilla",),
    "child_tuning_d": ("method=child_tuning_d",),
    "rec_adam": ("method=rec_adam",),
    "model_soup": ("method=model_soup", "method.members=3"),
}


def killed_and_repeated(nursery, folder, argv, kills, seed):
    """Results of a run that was let be, and of one that was killed `kills` times before."""
    log = folder / "log"
    started = time.monotonic()
    assert nursery.run(log, *argv, f"runs_dir={folder / 'whole'}") == 0, log.read_text()
    length = time.monotonic() - started
    moments = random.Random(seed)
    ended = []
    for _ in range(kills):
        number = nursery.start(log, *argv, f"runs_dir={folder / 'killed'}")
        time.sleep(moments.uniform(0.1, 0.95 if ended else 0.5) * length)
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            pass
        ended.append(nursery.wait())
        whole(folder / "killed")
    assert -signal.SIGKILL in ended
    assert nursery.run(log, *argv, f"runs_dir={folder / 'killed'}") == 0, log.read_text()
    return results(folder / "whole"), results(folder / "killed")


@pytest.mark.parametrize(
    ("method", "kills"),
    [("agwm", 3), *(pytest.param(method, 4, marks=pytest.mark.nightly) for method in METHODS)],
)
def test_killed_at_random_moments(nursery, tmp_path, method, kills):
    argv = (*TINY, *METHODS[method])
    expected, found = killed_and_repeated(nursery, tmp_path, argv, kills, method)
    assert found == expected


@pytest.mark.nightly
def test_killed_at_random_moments_on_minilm(nursery, tmp_path):
    argv = (*TINY, "model=minilm", *METHODS["agwm"], "optim.epochs=2")
    expected, found = killed_and_repeated(nursery, tmp_path, argv, 3, 0)
    assert found == expected


def test_killed_before_each_file_is_put_into_its_place(nursery, tmp_path):
    argv = (*TINY, *METHODS["agwm"], f"runs_dir={tmp_path / 'killed'}")
    log, survived = tmp_path / "log", []
    while (code := nursery.run(log, *argv, survived=survived)) == -signal.SIGKILL:
        survived.append(log.read_text().split()[-1])
        whole(tmp_path / "killed")
        assert len(set(survived)) == len(survived)
    assert code == 0
    assert {
        *("config.yaml", "0.safetensors", "1.safetensors", "2.safetensors", "alpha.safetensors"),
        *("predictions.jsonl", "model", "agwm.json", "record.json", "README.md", "page.html"),
    } <= set(survived)
    assert nursery.run(tmp_path / "log", *argv[:-1], f"runs_dir={tmp_path / 'whole'}") == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")


@pytest.mark.parametrize(("number", "code", "by"), [
    pytest.param(signal.SIGINT, 130, "", marks=pytest.mark.nightly),
    (signal.SIGTERM, 143, " by SIGTERM"),
])  # fmt: skip
def test_stopped_politely(nursery, tmp_path, number, code, by):
    argv = (*TINY, *METHODS["agwm"], "method.search_epochs=40", f"runs_dir={tmp_path / 'runs'}")
    process = nursery.start(tmp_path / "log", *argv)
    deadline = time.monotonic() + 120
    while "search 2/3: begins" not in train_log(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process, number)
    assert nursery.wait() == code
    last = (tmp_path / "log").read_text().strip().splitlines()[-1]
    assert last == f"error: interrupted{by}; the same command goes on"
    assert nursery.run(tmp_path / "log", *argv) == 0
    told = train_log(tmp_path)
    assert "search 1/3: taken from an earlier start" in told
    assert "search 2/3: begins" in told.split("goes on behind step")[1]


def train_log(folder):
    return "".join(path.read_text() for path in folder.rglob("train.log"))
