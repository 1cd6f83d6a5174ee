import math
import re

import pytest
from omegaconf import OmegaConf

from agwm.errors import UserError
from agwm.paths import root


@pytest.mark.parametrize("sweep", sorted((root() / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_sweep_composes_and_expands_to_the_runs_it_states(compose, sweep):
    """Each file opens with its question and says `A x B x ... = N runs`."""
    params = OmegaConf.load(sweep).hydra.sweeper.params
    runs = math.prod(len(str(values).split(",")) for values in params.values())
    stated = int(re.search(r"= (\d+) runs", sweep.read_text()).group(1))
    assert runs == stated
    first = [f"{key}={str(values).split(',')[0]}" for key, values in params.items()]
    assert compose(f"+sweeps={sweep.stem}", *first).sweep == sweep.stem


def test_a_recipe_for_all_the_data_is_refused_on_a_part_of_it(compose):
    recipe = ("model=roberta_large", "task=rte")
    assert compose(*recipe).optim.steps == 2036
    with pytest.raises(UserError, match=r"n_train=300: conf/optim/roberta_large_rte.yaml is for"):
        compose(*recipe, "n_train=300")
    own = compose(*recipe, "n_train=300", "~optim").optim
    assert (own.epochs, own.steps, own.warmup_steps, own.weight_decay) == (3, None, None, 0.1)
    assert compose(*recipe, "n_train=300", "optim.for_all_data=false").optim.steps == 2036
