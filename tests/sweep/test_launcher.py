import json
import os
import signal
import sys
import threading
import time

import pytest
from omegaconf import OmegaConf

from agwm.errors import UserError
from agwm.sweep.job import Job
from agwm.sweep.launcher import LocalLauncher
from agwm.sweep.overview import Overview

# Stands for a run: notes when it ran, where, and with what, and does as its name says.
RUN = """
import json, os, signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.default_int_handler)
name, folder = sys.argv[1], Path(sys.argv[2])
note = {"start": time.time(), "threads": os.environ.get("OMP_NUM_THREADS"),
        "gpu": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "traceback": os.environ.get("HYDRA_FULL_ERROR")}
try:
    print("error: no luck" if "bad" in name else "search 1/5", flush=True)
    time.sleep(60 if "long" in name else 0.2)
    while "deaf" in name:
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            (folder / f"{name}.told").touch()
except KeyboardInterrupt:
    note["interrupted"] = True
    sys.exit(130)
finally:
    note["end"] = time.time()
    (folder / f"{name}.json").write_text(json.dumps(note))
sys.exit("bad" in name)
"""


@pytest.fixture
def launched(tmp_path, monkeypatch):
    """`launched(names, **settings)`: notes of the stand-ins, by name, and their exit codes."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def run(names, max_parallel=None, gpus=()):
        launcher = LocalLauncher(max_parallel, gpus)
        launcher.setup(hydra_context=None, task_function=None, config=OmegaConf.create())
        command = [sys.executable, "-c", RUN]
        monkeypatch.setattr(
            launcher, "_command", lambda overrides: [*command, *overrides, str(tmp_path)]
        )
        codes = [job.return_value for job in launcher.launch([[name] for name in names], 0)]
        return notes(), codes

    def notes():
        return {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}

    run.notes = notes
    return run


def most_at_a_time(notes):
    return max(
        sum(other["start"] <= note["start"] < other["end"] for other in notes.values())
        for note in notes.values()
    )


@pytest.mark.parametrize("max_parallel", [1, 3])
def test_so_many_runs_at_a_time_and_no_more(launched, max_parallel):
    notes, codes = launched([f"run{i}" for i in range(5)], max_parallel)
    assert codes == [0] * 5 and len(notes) == 5
    assert most_at_a_time(notes) == max_parallel


def test_threads_are_divided_and_each_slot_has_its_gpu(launched, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    notes, _ = launched(["a", "b", "c", "d"], 3, gpus=(2, 5))
    assert {note["threads"] for note in notes.values()} == {"2"}
    assert [notes[name]["gpu"] for name in "abc"] == ["2", "5", "2"]
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    notes, _ = launched(["e"], 99)
    assert notes["e"]["traceback"] is None
    assert notes["e"]["threads"] == "1" and notes["e"]["gpu"] is None


def test_one_run_for_each_gpu_unless_told_otherwise(launched, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    notes, _ = launched(["a", "b", "c"], gpus=(0, 1))
    assert most_at_a_time(notes) == 2
    # What the user has chosen stays.
    assert {note["threads"] for note in notes.values()} == {"7"}


def test_a_run_that_fails_does_not_stop_the_others_and_says_why(launched, capfd):
    _, codes = launched(["a", "bad", "c"], 2)
    assert codes == [0, 1, 0]
    told = capfd.readouterr().err
    assert "FAILED (exit code 1)" in told and "error: no luck" in told
    assert "[3/3] done" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_reaches_the_runs_and_waits_for_them(launched, number):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), number))
    timer.start()
    before = time.time()
    with pytest.raises(KeyboardInterrupt):
        launched(["long1", "long2", "later"], 2)
    assert time.time() - before < 20
    notes = launched.notes()
    assert notes.keys() == {"long1", "long2"}
    assert all(note["interrupted"] for note in notes.values())
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_hang_up_that_is_ignored_stays_ignored(launched):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGHUP)).start()
        assert launched(["a"])[1] == [0]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_error_of_our_own_leaves_no_run_behind(launched, monkeypatch):
    def fails(*_):
        time.sleep(1)
        raise RuntimeError("no room")

    monkeypatch.setattr(Overview, "show", fails)
    with pytest.raises(RuntimeError, match="no room"):
        launched(["long"])
    assert launched.notes()["long"]["interrupted"]


def test_a_second_interrupt_ends_what_does_not_listen_to_the_first(launched, tmp_path):
    threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    threading.Timer(2.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    before = time.time()
    with pytest.raises(KeyboardInterrupt):
        launched(["deaf"])
    assert time.time() - before < 20
    assert (tmp_path / "deaf.told").exists() and not launched.notes()


@pytest.mark.parametrize("value", [0, -1, "two", 1.5, True])
def test_a_number_of_workers_that_is_none_is_refused(value):
    with pytest.raises(UserError, match=f"hydra.launcher.max_parallel={value}: must be a whole"):
        LocalLauncher(value, ()).setup(hydra_context=None, task_function=None, config=None)


def test_the_time_left_is_that_of_runs_of_the_same_kind():
    jobs = [Job([f"method={m}", f"seed={s}"], []) for m in ("a", "b") for s in (0, 1)]
    overview = Overview(jobs)
    assert overview.seconds_left([]) is None
    for job, seconds in zip(jobs[:3], (10.0, 20.0, 100.0), strict=True):
        job.code, job.seconds = 0, seconds
        overview.lengths[job.kind].append(seconds)
    # One more of b.
    assert overview.seconds_left([]) == 100.0
    jobs[1].code = None
    jobs[1]._started = time.monotonic() - 5
    jobs[3]._started = time.monotonic()
    # Of a: 10 s, 5 of them gone; of b: 100 s. Two at a time.
    assert overview.seconds_left([jobs[1], jobs[3]]) == pytest.approx((15 - 5 + 100) / 2, abs=0.5)
