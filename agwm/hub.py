"""Whether the model hub can be reached, asked once and before its libraries are imported."""

import os
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from agwm.config import RunConfig
from agwm.models.package import package_folder

_OFFLINE = "HF_HUB_OFFLINE"


def settle_offline(config: RunConfig) -> None:
    """Tell the hub's libraries to look into their cache alone where there is no network.

    They would retry for a minute before they say so. Nothing is asked where `config` needs no hub,
    or where HF_HUB_OFFLINE is set.
    """
    if _OFFLINE not in os.environ and _needs_hub(config) and not reachable():
        os.environ[_OFFLINE] = "1"


def _needs_hub(config: RunConfig) -> bool:
    task = config.task
    data = config.data_dir is None and not task.generated and task.train is None
    source = config.model.name_or_path
    model = source is not None and not Path(source).is_dir() and not package_folder(config.model)
    return data or model


def reachable() -> bool:
    """Whether the hub answers, whatever it says."""
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=5).close()
    except HTTPError:
        return True  # it answered
    except (URLError, OSError):
        return False
    return True
