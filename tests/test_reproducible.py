"""Same seed, same machine, same number of threads: same bits, whatever else there was."""

import json
import os
import subprocess
import sys

import pytest
import torch

from agwm.paths import root

METHODS = {
    "vanilla": (),
    "agwm": ("method.num_searches=2", "method.search_epochs=1"),
    "lora": ("method.epochs=1",),
}


def bits(folder):
    """What a result is: hashes, predictions, metrics, curves."""
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "ok"
    kept = ("data_hash", "start_hash", "weights_hash", "headline", "metrics", "mixture")
    files = ("predictions.jsonl", "metrics.csv")
    return {name: record[name] for name in kept} | {n: (folder / n).read_bytes() for n in files}


@pytest.fixture
def alone(tiny_run):
    """`alone(name)`: the bits of that method's run in this process."""
    return lambda name, *more: bits(tiny_run(f"method={name}", *METHODS[name], *more)[1])


def test_the_order_of_runs_and_what_ran_between_them_change_nothing(alone, tiny_run):
    first = {name: alone(name) for name in METHODS}
    assert len({found["weights_hash"] for found in first.values()}) == len(METHODS)
    threads = torch.get_num_threads()
    # Another task, with a head of its own, and another number of threads.
    data = tiny_run.runs.parent / "data" / "stsb"
    data.mkdir(parents=True)
    words = "good new right first long".split() * 6
    rows = [
        {"sentence1": f"the man was {word}", "sentence2": "it is time", "label": i / 7}
        for i, word in enumerate(words)
    ]
    for split in ("train", "validation"):
        (data / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny_run(
        "task=stsb", "n_train=20", f"data_dir={data.parent}", "method=r3f",
        f"trainer.threads={threads + 1}",
    )  # fmt: skip
    for name in reversed(METHODS):
        assert alone(name, "sweep=again") == first[name], name


def swept(folder, workers, *overrides, **environment):
    """Bits by method of a sweep in processes of its own."""
    command = [
        *(sys.executable, "-m", "agwm.train", "-m", f"hydra.launcher.max_parallel={workers}"),
        *("model=tiny", "n_train=40", "logger=none", f"runs_dir={folder}", *overrides),
    ]
    environment = {k: v for k, v in (os.environ | environment).items() if v is not None}
    environment["PYTHONPATH"] = str(root())
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {
        (record := json.loads(path.read_text()))["method"]: bits(path.parent)
        | {"threads": record["machine"]["threads"]}
        for path in folder.rglob("record.json")
    }


@pytest.mark.nightly
def test_workers_hashes_and_order_change_nothing(tmp_path):
    found = [
        swept(tmp_path / "one", 1, "method=vanilla,agwm,joint", PYTHONHASHSEED="0"),
        swept(tmp_path / "two", 2, "method=joint,agwm,vanilla", PYTHONHASHSEED="1"),
    ]
    assert found[0] == found[1] and len(found[0]) == 3


@pytest.mark.nightly
@pytest.mark.parametrize("threads", [1, 2])
def test_the_threads_of_the_configuration_win_over_those_of_the_workers(tmp_path, threads):
    given = ("method=vanilla,agwm", f"trainer.threads={threads}")
    # Unset, the launcher divides the processors among its workers.
    found = [
        swept(tmp_path / f"{workers}-{omp}", workers, *given, OMP_NUM_THREADS=omp)
        for workers, omp in ((1, None), (2, None), (1, "3"))
    ]
    assert found[0] == found[1] == found[2]
    assert {run["threads"] for run in found[0].values()} == {threads}
