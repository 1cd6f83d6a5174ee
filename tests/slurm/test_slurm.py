"""Sweeps through a real Slurm: two nodes that cluster.sh makes on this machine."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from shutil import which

import pytest

import agwm

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="make test-slurm installs it")
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(which("slurmctld") is None, reason="make test-slurm installs it"),
]

CLUSTER = Path(__file__).with_name("cluster.sh")
SWEEP = (
    *(sys.executable, "-m", "agwm.train", "-m", "hydra/launcher=agwm_slurm"),
    *("hydra.launcher.partition=main", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"),
    *("task=acceptability", "model=tiny", "n_train=40", "logger=none"),
)
EIGHT = (*SWEEP, "seed=0,1,2,3", "method=vanilla,agwm")
# Two searches of some seconds each: time enough to be hit in the second.
LONG = (*SWEEP, "seed=0,1", "method=agwm", "method.num_searches=2", "method.search_epochs=30")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Environment of a command that uses the cluster."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        subprocess.run([CLUSTER, "start", folder], check=True)
        path = str(Path(agwm.__file__).parents[1])
        yield os.environ | {"SLURM_CONF": str(folder / "slurm.conf"), "PYTHONPATH": path}
    finally:
        subprocess.run([CLUSTER, "stop", folder], check=True)


@pytest.fixture(scope="module")
def swept(cluster, tmp_path_factory):
    """Working directory of a sweep of eight runs, and what the command said."""
    folder = tmp_path_factory.mktemp("swept")
    return folder, subprocess.run(EIGHT, cwd=folder, env=cluster, capture_output=True, text=True)


def records(folder):
    found = [json.loads(path.read_text()) for path in folder.rglob("record.json")]
    return {(record["method"], record["seed"]): record["status"] for record in found}


def appeared(folder, pattern, seconds=300):
    """Wait until a file matches."""
    for _ in range(seconds * 10):
        if any(folder.rglob(pattern)):
            return
        time.sleep(0.1)
    raise TimeoutError(f"no {pattern} after {seconds} s")


def slurm(cluster, *command):
    return subprocess.run(command, env=cluster, capture_output=True, text=True, check=True).stdout


def test_eight_runs_go_through_slurm(swept):
    folder, command = swept
    assert command.returncode == 0, command.stderr
    runs = [(method, seed) for method in ("vanilla", "agwm") for seed in range(4)]
    assert records(folder) == dict.fromkeys(runs, "ok")
    assert len(list(folder.glob("runs/single/.submitit/*_*/*_log.out"))) == 8


def test_a_second_launch_runs_nothing(cluster, swept):
    folder, _ = swept
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}
    again = subprocess.run(EIGHT, cwd=folder, env=cluster, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("record.json")}


def test_a_failing_run_leaves_the_others_alone_and_gives_exit_code_one(cluster, tmp_path):
    diverging = ("optim.lr=1e-3,1e30", "optim.max_grad_norm=inf", "optim.epochs=9")
    command = (*SWEEP, "method=vanilla", *diverging)
    assert subprocess.run(command, cwd=tmp_path, env=cluster).returncode == 1
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert sorted(record["status"] for record in found) == ["failed", "ok"]


@pytest.mark.parametrize(
    "hit",
    [
        pytest.param(("scancel", "--signal=USR2"), id="as Slurm does before the time limit"),
        pytest.param(("scontrol", "requeue"), id="as an operator does"),
    ],
)
def test_a_requeued_job_goes_on_behind_its_last_finished_fit_and_the_other_is_left_alone(
    cluster, tmp_path, hit
):
    sweep = subprocess.Popen(LONG, cwd=tmp_path, env=cluster, stderr=subprocess.PIPE)
    try:
        appeared(tmp_path, "seed0/checkpoints/0.safetensors")
        array = slurm(cluster, "squeue", "-h", "-o", "%F").split()[0]
        slurm(cluster, *hit, f"{array}_0")
        _, stderr = sweep.communicate(timeout=600)
    finally:
        sweep.kill()
    assert sweep.returncode == 0, stderr
    assert records(tmp_path) == {("agwm", 0): "ok", ("agwm", 1): "ok"}
    for seed, restarts in ((0, 1), (1, 0)):
        job = slurm(cluster, "scontrol", "show", "job", f"{array}_{seed}")
        assert f"Restarts={restarts} " in job
        (log,) = tmp_path.rglob(f"seed{seed}/train.log")
        text = log.read_text()
        assert text.count("training examples") == 1 + restarts
        assert text.count("search 1/2: taken from an earlier start") == restarts
