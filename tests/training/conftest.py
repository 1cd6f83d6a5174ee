import pytest
from search_harness import OPTIM

from agwm.config import compose_config
from agwm.data.datamodule import GlueDataModule
from agwm.models.pretrained import load_pretrained


@pytest.fixture(scope="module")
def loaded():
    config = compose_config("model=tiny", "n_train=50")
    data = GlueDataModule(config.task, OPTIM, 0, 50, None)
    pretrained = load_pretrained(config.model, config.task, head_seed=1)
    data.tokenize_with(pretrained.tokenizer)
    return pretrained, data
