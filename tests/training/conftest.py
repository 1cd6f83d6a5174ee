import pytest
import torch
from search_harness import OPTIM

from agwm.compose import compose_config
from agwm.data.datamodule import GlueDataModule
from agwm.models.pretrained import load_pretrained
from agwm.training import plain


@pytest.fixture(scope="module")
def loaded():
    config = compose_config("model=tiny", "n_train=50")
    data = GlueDataModule(config.task, OPTIM, 0, 50, None)
    pretrained = load_pretrained(config.model, config.task, head_seed=1)
    data.tokenize_with(pretrained.tokenizer)
    return pretrained, data


@pytest.fixture
def by_sgd(monkeypatch):
    """With SGD for both, the paper's look-ahead is the step that W takes, and alpha shows h."""

    def sgd(groups):
        return torch.optim.SGD([{**group, "weight_decay": 0.0} for group in groups])

    monkeypatch.setattr(plain, "adamw", sgd)
