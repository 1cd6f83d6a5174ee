"""A sweep through Ray on this machine; in an environment with the extra `ray`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agwm

pytest.importorskip("hydra_plugins.hydra_ray_launcher", reason="no Ray here: docs/cluster.md")
pytestmark = pytest.mark.ray


def test_four_runs_go_through_ray(tmp_path):
    command = (
        *(sys.executable, "-m", "agwm.train", "-m", "hydra/launcher=agwm_ray"),
        *("+hydra.launcher.ray.init.num_cpus=2", "hydra.launcher.ray.remote.num_cpus=1"),
        *("hydra.launcher.ray.remote.num_gpus=0", "task=acceptability", "model=tiny"),
        *("n_train=40", "logger=none", "seed=0,1", "method=vanilla,agwm"),
    )
    path = str(Path(agwm.__file__).parents[1])
    subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True)
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("record.json")]
    assert {(record["method"], record["seed"]): record["status"] for record in found} == {
        (method, seed): "ok" for method in ("vanilla", "agwm") for seed in (0, 1)
    }
