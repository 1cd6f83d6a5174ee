import os
import signal
import sys
from shutil import copytree

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "TOKENIZERS_PARALLELISM": "false",
    # Tiny tensors: threads would wait for each other.
    "OMP_NUM_THREADS": "1",
}

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser

from agwm import train
from agwm.compose import compose_config, register
from agwm.data.own import settled
from agwm.identity import config_hash, run_dir
from agwm.method import build_method
from agwm.paths import root


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """What the command line sets in its process is not to reach the tests that follow."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    # Ignored in a shell's background jobs, and then by all that a test starts and interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def compose():
    """`compose(*overrides)`: the `RunConfig` that the command line would get."""
    register()
    GlobalHydra.instance().clear()
    # Opened once for all that a test composes.
    with initialize_config_dir(str(root() / "conf"), version_base="1.3"):
        yield compose_config


@pytest.fixture
def parse(compose):
    """Override lines to Hydra's overrides."""
    return OverridesParser.create(
        config_loader=GlobalHydra.instance().config_loader()
    ).parse_overrides


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    """`cli(*argv)`: exit code, stdout and stderr of `agwm.train` in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def called(*argv):
        monkeypatch.setattr(train, "_exit_codes", [])
        monkeypatch.setattr(sys, "argv", ["train.py", *argv])
        GlobalHydra.instance().clear()
        with pytest.raises(SystemExit) as stop:
            train.main()
        return stop.value.code, *capsys.readouterr()

    return called


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """Folder of a classifier of single texts, not to be changed."""
    from trained_folder import save_trained

    return save_trained(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def folder(model, tmp_path):
    """A copy of it to be changed."""
    return copytree(model, tmp_path / "model")


@pytest.fixture
def tiny_run(compose, tmp_path):
    """`tiny_run(*overrides)`: `(record, folder)` of a run of the tiny model.

    With `architecture`, a model's configuration, it is that one, with random weights.
    """
    from agwm.run import run

    def finished(*overrides, architecture=None):
        given = {override.split("=")[0].lstrip("+~") for override in overrides}
        defaults = {
            "task": "acceptability",
            "model": "tiny",
            "logger": "none",
            "n_train": 40,
            "runs_dir": tmp_path / "runs",
        }
        config = compose(
            *(f"{key}={value}" for key, value in defaults.items() if key not in given), *overrides
        )
        config = settled(config)
        config.model.config = architecture or config.model.config
        folder = run_dir(config)
        return run(config, build_method(config.method), folder, config_hash(config)), folder

    finished.runs = tmp_path / "runs"
    return finished
