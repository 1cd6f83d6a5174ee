"""The two ways a run can end badly, and how a mistake is told in one line."""

import re
from collections.abc import Collection
from difflib import get_close_matches
from typing import Any

from agwm.shown import masked, shown

# Which of our extras brings what a preset in conf/hydra/launcher builds on.
_EXTRAS = {"hydra/launcher/submitit_slurm": "slurm", "hydra/launcher/ray": "ray"}
# What Hydra and OmegaConf say in words of their own, and we in ours.
_SEVERAL = "{}: several values; -m has a run for each, [a,b] makes a list of them"
_QUOTES = "; key=value, with quotes about what has special characters: \"key='a, b'\""
_REWORDED = (
    (r"^Ambiguous value for argument '(.+)'", _SEVERAL),
    (r"^Could not override '(.*)'\. No match in the defaults list", "'{}': no such key"),
    (r"^Sweep parameters '(.+)' requires --multirun", _SEVERAL),
    (
        r"^(.+?)=(.*)\nInvalid value assigned: \w+ is not a ListConfig",
        "{0}={1}: must be a list, {0}=[{1}]",
    ),
    (r"^Error parsing override '(.*)'\n(.+)", "{}: {}" + _QUOTES),
    (
        r"^(Config group override must be a string or a list)\. Got (.+)",
        "{}, not {}: task=cola, method=vanilla, ...",
    ),
    (r"(?s)^LexerNoViableAltException:\s*(.*?)(?:\n\^|$)", "{}: not readable" + _QUOTES),
)


class UserError(Exception):
    """A mistake that the user can mend: one line that names the value and the way out, exit 2."""


class RunError(Exception):
    """The run itself failed, for instance on a loss that is not finite: exit 1."""


def require(valid: bool, key: str, value: Any, allowed: str) -> None:
    """Raise the one-line error of a value out of range; NaN makes every comparison invalid."""
    if not valid:
        raise UserError(f"{key}={value}: must be {allowed}")


def one_line(error: BaseException, known_keys: Collection[str] = ()) -> str:
    """What `error` says, on one line, with Hydra's several put together and no password in it.

    Args:
        error: from our code, Hydra or OmegaConf.
        known_keys: of the configuration, "optim.lr" and so on, to find what was meant.
    """
    return shown(masked(_said(error, known_keys)))


def _said(error: BaseException, known_keys: Collection[str]) -> str:
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
    text = "\n".join([*_lines(error), *_lines(cause)]).removeprefix("Error merging override ")
    for pattern, told in _REWORDED:
        if found := re.search(pattern, text):
            return " ".join(told.format(*found.groups()).split("\n"))
    if unknown := re.search(r"To append to your config use \+(.+)", text):
        return no_such_key(unknown.group(1), known_keys)
    key = getattr(error, "full_key", None)  # of those of OmegaConf
    if key and re.match(r"Key '.+' not in ", text):
        return no_such_key(key, known_keys)
    told = ": ".join(text.split("\n"))
    return f"{key}: {told}" if key and key not in told else told


def no_such_key(override: str, known_keys: Collection[str]) -> str:
    """The line on a key that there is not, with the one that may be meant."""
    close = get_close_matches(override.split("=")[0], known_keys, n=1, cutoff=0.75)
    return f"{override}: no such key" + (f"; did you mean {close[0]}?" if close else "")


def _lines(error: BaseException | None) -> list[str]:
    """Lines of a message, without those that OmegaConf adds about its own types."""
    inner = ("full_key:", "reference_type=", "object_type=")
    stripped = [line.strip() for line in str(error or "").splitlines()]
    return [line for line in stripped if line and not line.startswith(inner)]
