"""An installed distribution that ships a model's files; found without importing anything of it."""

from importlib import metadata
from pathlib import Path

from agwm.config import Model


def package_folder(config: Model) -> Path | None:
    """Model folder of `config.package`; None if there is no such package."""
    if config.package is None:
        return None
    try:
        found = metadata.distribution(config.package)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file(config.package_folder)))
