import itertools
import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args
from wandb_file import key_of, offline_runs, read_wandb

from agwm.paths import root

SWEEPS = sorted((root() / "sweeps/wandb").glob("*.yaml"))


def commands(sweep):
    """Arguments of every run, put together by W&B's own code, as its agent does."""
    values = {key: p.get("values", [p.get("value")]) for key, p in sweep["parameters"].items()}
    for combination in itertools.product(*values.values()):
        args = {key: {"value": v} for key, v in zip(values, combination, strict=True)}
        filled = create_sweep_command_args({"args": args})["args_no_hyphens"]
        yield [
            word
            for part in sweep["command"]
            for word in (filled if part == "${args_no_hyphens}" else [part])
        ]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_run_of_a_wandb_sweep_is_a_command_of_ours(compose, path):
    runs = list(commands(yaml.safe_load(path.read_text())))
    assert len(runs) == int(re.search(r"= (\d+) runs", path.read_text()).group(1))
    for command in runs:
        assert command[:4] == ["${env}", "${interpreter}", "-m", "agwm.train"]
        config = compose(*(word for word in command[4:] if not word.startswith("hydra.")))
        assert config.logger.mode == "online" and config.seed >= 100
        assert config.sweep == f"wandb_{path.stem}"


def test_a_run_started_by_the_agent_belongs_to_its_sweep(tmp_path):
    sweep = yaml.safe_load((root() / "sweeps/wandb/recipe.yaml").read_text())
    command = [sys.executable, *next(commands(sweep))[2:]]
    tiny = ("model=tiny", "n_train=40", "optim.epochs=1", "logger.mode=offline")
    agent = {"WANDB_SWEEP_ID": "abc123", "WANDB_RUN_ID": "run1", "WANDB_PROJECT": "agwm"}
    environment = os.environ | agent | {"PYTHONPATH": str(root())}
    # Of a W&B run in this process: the child would leave its file to that one's writer.
    environment.pop("WANDB_SERVICE", None)
    subprocess.run([*command, *tiny], cwd=tmp_path, env=environment, check=True)
    (path,) = offline_runs(tmp_path)
    records = read_wandb(path)
    run = next(r.run for r in records if r.WhichOneof("record_type") == "run")
    assert (run.sweep_id, run.run_id) == ("abc123", "run1")
    summary = {
        key_of(item): json.loads(item.value_json)
        for r in records
        if r.WhichOneof("record_type") == "summary"
        for item in r.summary.update
    }
    assert sweep["metric"]["name"] in summary
