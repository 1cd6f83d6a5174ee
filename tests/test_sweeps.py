import re

import pytest
from omegaconf import OmegaConf

from agwm.compose import composed
from agwm.errors import UserError
from agwm.paths import root
from agwm.sweep.plan import expand, plan

SWEEPS = sorted((root() / "sweeps").glob("*.yaml"))


def expanded(path, parse):
    sweeper = OmegaConf.load(path).hydra.sweeper
    return expand(sweeper.params, sweeper.get("also", []), [f"+sweeps={path.stem}"], parse)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_composes_and_expands_to_the_runs_it_states(parse, path):
    """Each file opens with its question and says `A x B x ... = N runs`."""
    assert path.read_text().splitlines()[1].split("?")[0].startswith("# ")
    runs = expanded(path, parse)
    stated = int(re.search(r"= (\d+) runs", path.read_text()).group(1))
    assert len(runs) == stated
    if path.stem.startswith("grid_"):  # hundreds of configurations: one task stands for all
        runs = [run for run in runs if "task=cola" in {override.input_line for override in run}]
        assert len(runs) == stated // 4
    planned = plan(runs, composed)
    assert len({run.folder for run in planned}) == len(runs)
    assert {run.config.sweep for run in planned} == {path.stem}


def test_a_recipe_for_all_the_data_is_refused_on_a_part_of_it(compose):
    recipe = ("model=roberta_large", "task=rte")
    assert compose(*recipe).optim.steps == 2036
    with pytest.raises(UserError, match=r"n_train=300: conf/optim/roberta_large_rte.yaml is for"):
        compose(*recipe, "n_train=300")
    own = compose(*recipe, "n_train=300", "~optim").optim
    assert (own.epochs, own.steps, own.warmup_steps, own.weight_decay) == (3, None, None, 0.1)
    assert compose(*recipe, "n_train=300", "optim.for_all_data=false").optim.steps == 2036


def test_every_row_of_the_study_is_named_and_no_name_is_without_one(parse):
    """One seed of two tasks has every cell: stsb has learning rates of its own."""
    runs = [
        run
        for name in ("study", "study_options")
        for run in expanded(root() / "sweeps" / f"{name}.yaml", parse)
        if {"task=sst2", "task=stsb"} & (given := {override.input_line for override in run})
        and {"seed=0", "seed=20"} & given
    ]
    cells = {run.folder.parent.parent.name for run in plan(runs, composed)}
    assert cells == set(OmegaConf.load(root() / "docs" / "study" / "names.yaml"))
