import os

os.environ |= {
    "HF_HUB_OFFLINE": "1",
    "WANDB_MODE": "offline",
    "TOKENIZERS_PARALLELISM": "false",
    # Tiny tensors: threads would wait for each other.
    "OMP_NUM_THREADS": "1",
}

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from agwm.config import config_hash, register, run_dir, to_run_config
from agwm.method import build_method
from agwm.paths import root


@pytest.fixture
def compose():
    """`compose(*overrides)`: the `RunConfig` that the command line would get."""
    register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(root() / "conf"), version_base="1.3"):

        def composed(*overrides):
            cfg = hydra_compose("train", list(overrides), return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
            return to_run_config(cfg)

        yield composed


@pytest.fixture
def tiny_run(compose, tmp_path):
    """`tiny_run(*overrides)`: `(record, folder)` of a run of the tiny model."""
    from agwm.run import run

    def finished(*overrides):
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
        folder = run_dir(config)
        return run(config, build_method(config.method), folder, config_hash(config)), folder

    return finished
