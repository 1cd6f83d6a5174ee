"""An installed distribution that ships a model's files; found without importing anything of it."""

from importlib import metadata
from pathlib import Path

from agwm.config import Model


def package_folder(config: Model) -> Path | None:
    """Model folder of `config.package`; None if it is not installed, or ships another model."""
    if config.package is None or config.name_or_path != config.package_of:
        return None
    try:
        found = metadata.distribution(config.package)
    except metadata.PackageNotFoundError:
        return None
    return Path(str(found.locate_file(config.package_folder)))
