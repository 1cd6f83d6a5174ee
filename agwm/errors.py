"""The two ways a run can end badly, and how a mistake is told in one line."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

# Which of our extras brings what a preset in conf/hydra/launcher builds on.
_EXTRAS = {"hydra/launcher/submitit_slurm": "slurm", "hydra/launcher/ray": "ray"}


class UserError(Exception):
    """A mistake that the user can mend: one line that names the value and the way out, exit 2."""


class RunError(Exception):
    """The run itself failed, for instance on a loss that is not finite: exit 1."""


def require(valid: bool, key: str, value: Any, allowed: str) -> None:
    """Raise the one-line error of a value out of range; NaN makes every comparison invalid."""
    if not valid:
        raise UserError(f"{key}={value}: must be {allowed}")


def one_line(error: BaseException, known_keys: Collection[str] = ()) -> str:
    """What `error` says, on one line, with Hydra's several put together.

    Args:
        error: from our code, Hydra or OmegaConf.
        known_keys: of the configuration, "optim.lr" and so on, to find what was meant.
    """
    # The numerics and the search step know this file, and run where there is no Hydra.
    from hydra.errors import HydraException, MissingConfigException

    if isinstance(error, MissingConfigException) and error.missing_cfg_file in _EXTRAS:
        extra = _EXTRAS[error.missing_cfg_file]
        return f"hydra/launcher=agwm_{extra}: not installed; pip install 'agwm[{extra}]'"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={choice}: no such {group}; one of {', '.join(error.options)}"
    # Hydra keeps the reason in the cause; our own messages have it in them.
    cause = error.__cause__ if isinstance(error, HydraException) else None
    text = "\n".join([*_lines(error), *_lines(cause)])
    unknown = re.search(r"To append to your config use \+(.+)", text)
    if unknown is None:
        return ": ".join(text.removeprefix("Error merging override ").split("\n"))
    override = unknown.group(1)
    close = get_close_matches(override.split("=")[0], known_keys, n=1, cutoff=0.75)
    return f"{override}: no such key" + (f"; did you mean {close[0]}?" if close else "")


def _lines(error: BaseException | None) -> list[str]:
    """Lines of a message, without those that OmegaConf adds about its own types."""
    inner = ("full_key:", "reference_type=", "object_type=")
    stripped = [line.strip() for line in str(error or "").splitlines()]
    return [line for line in stripped if line and not line.startswith(inner)]
