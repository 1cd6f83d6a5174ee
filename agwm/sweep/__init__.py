"""Many runs from one command: planned, launched beside each other, and accounted for."""

from hydra.core.plugins import Plugins

from agwm.sweep.launcher import LocalLauncher
from agwm.sweep.sweeper import CellSweeper


def register() -> None:
    """Make sweeper and launcher known to Hydra; may be called again."""
    for plugin in (LocalLauncher, CellSweeper):
        # Hydra looks plugins up by names of its own namespace only.
        Plugins.instance().class_name_to_class[f"hydra_plugins.agwm.{plugin.__name__}"] = plugin
