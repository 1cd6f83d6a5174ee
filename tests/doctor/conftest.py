from functools import cache

import pytest
from huggingface_hub import constants

from agwm.doctor import sources


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """`hub(answers)`: the Hub with an empty cache, asked in vain unless told otherwise."""

    def set_to(answers):
        monkeypatch.setattr(sources, "reachable", lambda: answers)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
        sources.hub_answers.cache_clear()

    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    set_to(False)
    yield set_to
    sources.hub_answers.cache_clear()


@pytest.fixture
def rows(compose):
    """`rows(check, *overrides)`: `(about, state, what is said)` of what a check finds."""
    composed = cache(compose)

    def found(check, *overrides):
        return [(f.about, f.state, f"{f.found} {f.remedy}") for f in check(composed(*overrides))]

    return found
