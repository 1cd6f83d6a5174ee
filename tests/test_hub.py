import os
from urllib.error import HTTPError, URLError

import pytest

from agwm import hub


@pytest.fixture
def asked(monkeypatch):
    """Lists the addresses that are asked; nothing answers."""
    addresses = []

    def urlopen(request, timeout):
        addresses.append(request.full_url)
        raise URLError("no network")

    monkeypatch.setattr(hub, "urlopen", urlopen)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.invalid")
    return addresses


def test_a_run_that_needs_no_hub_asks_nothing(asked, compose, tmp_path):
    hub.settle_offline(compose("model=tiny"))
    hub.settle_offline(compose("task=cola", f"data_dir={tmp_path}", "model=tiny"))
    hub.settle_offline(compose(f"model.name_or_path={tmp_path}"))
    assert asked == [] and "HF_HUB_OFFLINE" not in os.environ


@pytest.mark.parametrize("overrides", [["task=cola", "model=tiny"], ["model=bert_large"]])
def test_without_a_network_the_cache_alone_is_used(asked, compose, overrides, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    hub.settle_offline(compose(*overrides))
    assert asked == []  # what the user has set stands
    monkeypatch.delenv("HF_HUB_OFFLINE")
    hub.settle_offline(compose(*overrides))
    assert asked == ["https://hub.invalid"]
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize("installed", [True, False])
def test_a_model_from_an_installed_package_needs_no_hub(
    asked, compose, monkeypatch, tmp_path, installed
):
    monkeypatch.setattr(hub, "package_folder", lambda model: tmp_path if installed else None)
    hub.settle_offline(compose("model=minilm"))
    assert len(asked) == (0 if installed else 1)


def test_any_answer_of_the_hub_is_a_network(asked, compose, monkeypatch):
    def refused(request, timeout):
        raise HTTPError(request.full_url, 401, "no", None, None)

    monkeypatch.setattr(hub, "urlopen", refused)
    hub.settle_offline(compose("model=bert_large"))
    assert "HF_HUB_OFFLINE" not in os.environ
