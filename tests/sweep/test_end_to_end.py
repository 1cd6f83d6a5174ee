"""Sweeps of real processes, as the command line starts them."""

import json
import os
import signal
import subprocess
import sys
import time

from agwm.paths import root
from agwm.report.__main__ import main as report

SWEEP = (sys.executable, "-m", "agwm.train", "-m", "hydra.launcher.max_parallel=2")
TINY = ("model=tiny", "n_train=40", "logger=none", "save_model=false")


def start(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(root())}
    return subprocess.Popen(
        [*SWEEP, *TINY, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(folder, pattern, seconds=120):
    end = time.monotonic() + seconds
    while not list(folder.rglob(pattern)):
        assert time.monotonic() < end, f"no {pattern}"
        time.sleep(0.02)


def bits(folder):
    """What a run has come to, and the hash of its weights."""
    record = json.loads((folder / "record.json").read_text())
    results = [record[name] for name in ("weights_hash", "data_hash", "headline", "metrics")]
    return [*results, (folder / "predictions.jsonl").read_text()]


def test_an_interrupted_sweep_loses_nothing_and_runs_nothing_twice(tmp_path, tiny_run):
    """One run is over, and one in its second search, when the interrupt comes."""
    assert start(tmp_path, "method=vanilla", "seed=0").wait() == 0
    (record,) = tmp_path.rglob("record.json")
    before = record.stat().st_mtime_ns
    searching = ("method=agwm", "method.num_searches=2", "method.search_epochs=20", "seed=0")
    stopped = start(tmp_path, *searching)
    wait_for(tmp_path, "checkpoints/0.safetensors")
    stopped.send_signal(signal.SIGINT)
    out, _ = stopped.communicate(timeout=120)
    assert stopped.returncode == 130 and "1 runs: 1 failed" in out
    again = start(tmp_path, *searching)
    out, _ = again.communicate(timeout=120)
    assert again.returncode == 0 and "1 runs: 1 finished" in out
    (log,) = tmp_path.rglob("agwm*/n40/seed0/train.log")
    assert log.read_text().count("search 1/2: taken from an earlier start") == 1
    assert record.stat().st_mtime_ns == before
    # Another process, another seed of Python's hashes, and others before it: the same bits.
    for overrides, folder in ((("method=vanilla",), record.parent), (searching[:3], log.parent)):
        _, here = tiny_run(*overrides, f"runs_dir={tmp_path / 'alone'}", "save_model=false")
        assert bits(here) == bits(folder)


def test_a_corrupted_file_fails_its_task_alone_and_the_report_lists_it(tmp_path):
    data = tmp_path / "glue/sst2"
    data.mkdir(parents=True)
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_text('{"sentence": "half a li')
    sweep = start(
        tmp_path, "task=sst2,acceptability", "method=vanilla", f"data_dir={tmp_path / 'glue'}"
    )
    out, err = sweep.communicate(timeout=120)
    assert sweep.returncode == 1
    assert "2 runs: 1 finished, 1 failed" in out
    assert "FAILED (exit code 2)" in err and "line 1: not JSON" in err and "Traceback" not in err
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert {r["task"]: r["status"] for r in records} == {"sst2": "failed", "acceptability": "ok"}
    assert report([str(tmp_path / "runs"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/report.md").read_text()
    assert "Failed runs" in page and "line 1: not JSON" in page
