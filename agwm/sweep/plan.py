"""Which runs a sweep consists of, and which of them are still to be done.

All is composed and checked before anything is launched: a mistake in the last run of a sweep is
told before the first one, not after days.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from agwm.compose import composed_by_choices, to_run_config
from agwm.config import RunConfig
from agwm.data.own import settled
from agwm.errors import UserError
from agwm.identity import config_hash, differences, run_dir
from agwm.method import build_method
from agwm.results.record import finished_record, written

# Keys that nothing in the configuration refers to: set without composing it once more.
_PLAIN = ("seed", "n_train")


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep, checked."""

    overrides: tuple[str, ...]
    config: RunConfig
    folder: Path
    finished: bool  # before the sweep began
    record: int | None  # when the record was written that lay there before, nanoseconds


def expand(
    params: Mapping[str, str | None],
    also: Iterable[Mapping[str, str | None]],
    arguments: list[str],
    parse: Callable[[list[str]], list[Override]],
) -> list[list[Override]]:
    """Overrides of each run: the product of all values, rightmost fastest, block after block.

    Args:
        params: values of each key in the override grammar, "a,b" or "range(0,10)".
        also: blocks that change `params`; None takes a key away, that of the command line too. A
            block that gives a value to a key of the command line is left out: the choice was made
            there.
        arguments: of the command line, which come before params.
        parse: of the override grammar.

    Raises:
        UserError: more than one sweep.
    """
    given = {override.get_key_element(): override for override in parse(arguments)}
    if "+sweeps" in given and not isinstance(given["+sweeps"].value(), str):
        raise UserError(f"{given['+sweeps'].input_line}: one sweep at a time")
    runs = []
    for block in [{}, *also]:
        if any(values is not None and key in given for key, values in block.items()):
            continue
        changed = {**params, **block}
        lines = [f"{key}={values}" for key, values in changed.items() if values is not None]
        merged = {override.get_key_element(): override for override in parse(lines)}
        merged |= {key: line for key, line in given.items() if key not in block}
        values = [_values(override, parse) for override in merged.values()]
        runs += [list(run) for run in product(*values)]
    return runs


def _values(override: Override, parse: Callable[[list[str]], list[Override]]) -> list[Override]:
    if not override.is_sweep_override():
        return [override]
    key = override.get_key_element()
    return parse([f"{key}={value}" for value in override.sweep_string_iterator()])


def plan(
    runs: Iterable[list[Override]], compose: Callable[[list[str]], DictConfig]
) -> list[PlannedRun]:
    """Check every run and find its folder.

    Args:
        runs: from `expand`.
        compose: configuration of a run's overrides, with Hydra's own node.

    Raises:
        UserError: a value out of range; two runs with one folder; a folder that holds a finished
            run of another configuration; no runs at all.
    """
    known: dict[tuple[str, ...], DictConfig] = {}
    composed: dict[tuple[str, ...], tuple[RunConfig, list[str]]] = {}
    planned = []
    for run in runs:
        plain = {o.key_or_group: o.value() for o in run if _is_plain(o)}
        others = [o for o in run if not _is_plain(o)]
        rest = tuple(o.input_line for o in others)
        if rest not in composed:
            config = composed_by_choices(others, compose, known)
            # Task, model and method take their names from Hydra's choices.
            HydraConfig.instance().set_config(config)
            checked = settled(to_run_config(config))
            build_method(checked.method)
            composed[rest] = checked, differences(checked)
        checked, changed = composed[rest]
        config = replace(checked, **plain)
        folder = run_dir(config, changed)
        finished = not config.force and finished_record(folder, config_hash(config)) is not None
        lines = tuple(override.input_line for override in run)
        planned.append(PlannedRun(lines, config, folder, finished, written(folder)))
    if not planned:
        raise UserError("no runs: a key of the sweep has no values")
    _refuse_doubles(planned)
    return planned


def _is_plain(override: Override) -> bool:
    """Whether the override sets a key of `_PLAIN` to a number; the rest is for Hydra to judge."""
    return override.get_key_element() in _PLAIN and type(override.value()) is int


def _refuse_doubles(planned: list[PlannedRun]) -> None:
    folder, count = Counter(run.folder for run in planned).most_common(1)[0]
    if count > 1:
        raise UserError(f"{folder}: {count} runs of the sweep lead there; give each value once")
