"""From overrides to the checked configuration of a run, by Hydra."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agwm.config import RunConfig
from agwm.errors import UserError
from agwm.paths import root
from agwm.shown import masked


def register() -> None:
    """Make the schema and the resolvers known to Hydra; may be called again."""
    ConfigStore.instance().store(name="run_schema", node=RunConfig)
    OmegaConf.register_new_resolver("agwm_root", lambda: str(root()), replace=True)


def compose_config(*overrides: str) -> RunConfig:
    """The `RunConfig` that `python -m agwm.train *overrides` would get; for use from Python."""
    register()
    cfg = composed([quoted(override) for override in overrides])
    # Task, model and method take their names from Hydra's choices.
    HydraConfig.instance().set_config(cfg)
    return to_run_config(cfg)


def composed(overrides: list[str]) -> DictConfig:
    """Configuration of a run's overrides, with Hydra's own node; `register` comes first."""
    if GlobalHydra.instance().is_initialized():
        return compose("train", overrides, return_hydra_config=True)
    with initialize_config_dir(str(root() / "conf"), version_base="1.3"):
        return compose("train", overrides, return_hydra_config=True)


def composed_by_choices(
    run: list[Override],
    compose: Callable[[list[str]], DictConfig],
    known: dict[tuple[str, ...], DictConfig],
) -> DictConfig:
    """What `compose` gives for the overrides of a run, in less time for many runs.

    Composing takes Hydra some 0.2 s, and many runs have few choices of a task, model, method and so
    on. These alone are composed, and values like `optim.lr=1e-3` are set on a copy. Hydra's node,
    made with the choices, does not list the values among its overrides.

    Args:
        run: its overrides.
        compose: configuration of override lines, with Hydra's own node.
        known: what the choices of earlier runs gave, and now those of this one; at first empty.
    """
    lines = [override.input_line for override in run]
    values = [override for override in run if _is_value(override)]
    others = [override for override in run if not _is_value(override)]
    if not all(map(_is_before_values, others)):
        return compose(lines)
    choices = tuple(override.input_line for override in others)
    if choices not in known:
        known[choices] = compose(list(choices))
    config = deepcopy(known[choices])
    try:
        for value in values:
            OmegaConf.update(config, value.key_or_group, value.value())
    except OmegaConfBaseException:  # Hydra knows what to say of it
        return compose(lines)
    return config


def _is_value(override: Override) -> bool:
    """Whether it sets a key within the task, model, method and so on."""
    within = "." in override.key_or_group and not override.is_hydra_override()
    return within and override.type is OverrideType.CHANGE and override.package is None


def _is_before_values(override: Override) -> bool:
    """Whether it may be set before the values, wherever it stands: it sets no key that they do."""
    elsewhere = "." not in override.key_or_group or override.is_hydra_override()
    kept = override.type in (OverrideType.CHANGE, OverrideType.ADD)
    return elsewhere and kept and not isinstance(override.value(), dict)


_CHOSEN = ("", "task", "model", "optim", "method", "trainer", "logger")  # by a name


def quoted(override: str) -> str:
    """`override` as Hydra's grammar wants it: a value with letters beyond ASCII in quotes.

    Left alone where it may be a list, a sweep or quoted already. So is a number that is to name a
    choice.
    """
    key, equals, value = override.partition("=")
    number = key in _CHOSEN and value.isdecimal()
    if (value.isascii() and not number) or set(value) & set("\"',[]{}()"):
        return override
    return f"{key}{equals}'{value}'"


def refuse_list(override: str) -> None:
    """Raise `UserError` where `override` chooses several of what there is one of in a run."""
    key, _, value = override.partition("=")
    key = key.lstrip("+")
    if key in (*_CHOSEN, "hydra/launcher") and value.lstrip().startswith("["):
        raise UserError(f"{override}: a list; a run has one, and -m {key}=a,b has a run for each")


def to_run_config(cfg: DictConfig) -> RunConfig:
    """Resolved and checked `RunConfig`.

    Raises:
        UserError: a value out of range.
        OmegaConfBaseException: a key that is none of ours.
    """
    _refuse_unknown_recipe()
    own = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "hydra"])
    plain = OmegaConf.to_container(own, resolve=True)
    for key, value in leaves(plain):
        if isinstance(value, str) and masked(value) != value:
            raise UserError(
                f"{key}={masked(value)}: holds a name or password, which a run would write down; "
                "keep it in the environment or in a file of its own"
            )
    # Merged once more: what `+key=value` adds would pass otherwise.
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), plain))


def _refuse_unknown_recipe() -> None:
    """Hydra passes by one that there is not: most tasks have none of their own."""
    runtime = HydraConfig.get().runtime
    chosen = runtime.choices.get("optim")
    if chosen in (None, f"{runtime.choices.get('model')}_{runtime.choices.get('task')}"):
        return
    folders = [Path(source.path, "optim") for source in runtime.config_sources]
    if not any((folder / f"{chosen}.yaml").is_file() for folder in folders):
        known = sorted(path.stem for path in (root() / "conf" / "optim").glob("*.yaml"))
        raise UserError(f"optim={chosen}: no such optim; one of {', '.join(known)}")


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`("optim.lr", 2e-5)` and so on, as deep as the mappings go."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{name}.")
        else:
            yield name, value


def known_keys() -> list[str]:
    """Keys that may be meant by a mistyped one: two levels deep, with those of all methods."""
    keys = []
    for key in fields(RunConfig):
        inner = fields(key.type) if is_dataclass(key.type) else ()
        keys += [key.name, *(f"{key.name}.{field.name}" for field in inner)]
    for path in sorted((root() / "conf" / "method").glob("*.yaml")):
        keys += [f"method.{name}" for name in OmegaConf.load(path)]
    return keys
