"""What `build_method` refuses, for every field of every `conf/method/*.yaml`."""

import json
import subprocess
import sys
from dataclasses import fields
from types import UnionType
from typing import get_args, get_type_hints

import pytest

from agwm.errors import UserError
from agwm.method import build_method
from agwm.paths import root

METHODS = sorted(path.stem for path in (root() / "conf" / "method").glob("*.yaml"))
HEAVY = "torch transformers peft sklearn lightning datasets wandb".split()


def kinds(hint):
    """Types that a field takes, without None."""
    return [t for t in get_args(hint) or [hint] if t is not type(None)]


def typed_fields(config):
    """Name and types of the fields that are not `Any`, text or a mapping."""
    method = type(build_method(config))
    hints = get_type_hints(method)
    for field in fields(method):
        hint = hints[field.name]
        if hint in (int, float, bool) or isinstance(hint, UnionType):
            found = kinds(hint)
            if str not in found:
                yield field.name, found


def refused(config, **changes):
    """The one line in which `changes` are refused, or None."""
    try:
        build_method({**config, **changes})
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return None


@pytest.mark.parametrize("name", METHODS)
def test_an_unknown_key_is_refused(compose, name):
    config = compose(f"method={name}", "+method.nonsense=1").method
    assert "method.nonsense=1: " in refused(config)
    assert refused({k: v for k, v in config.items() if k != "nonsense"}) is None


@pytest.mark.parametrize("name", METHODS)
def test_a_value_of_another_type_is_refused_with_its_key(compose, name):
    config = compose(f"method={name}").method
    for key, types in typed_fields(config):
        wrong = [{"a": 1}, "not_a_value"]
        wrong += [[1, 2]] if list[str] not in types else []
        wrong += [2.5] if float not in types else []
        for value in wrong:
            message = refused(config, **{key: value})
            assert message is not None, f"method.{key}={value} is taken"
            assert message.startswith(f"method.{key}={value}: "), message


@pytest.mark.parametrize("name", METHODS)
def test_a_number_that_is_none_or_far_below_zero_is_refused_with_its_key(compose, name):
    config = compose(f"method={name}").method
    for key, types in typed_fields(config):
        values = []
        if float in types:
            values = [float("nan"), -1e9, "nan"]
        elif int in types:
            values = [-1]
        for value in values:
            message = refused(config, **{key: value})
            assert message is not None, f"method.{key}={value} is taken"
            assert message.startswith(f"method.{key}={value}: must be "), message


@pytest.mark.parametrize("name", METHODS)
def test_null_is_refused_where_the_field_does_not_take_it(compose, name):
    config = compose(f"method={name}").method
    method = type(build_method(config))
    hints = get_type_hints(method)
    for key in (field.name for field in fields(method)):
        message = refused(config, **{key: None})
        if hints[key] in (int, float, bool, str):
            assert message is not None, f"method.{key}=null is taken"
        assert message is None or message.startswith(f"method.{key}=None: "), message


def test_building_a_method_imports_nothing_heavy(compose):
    configs = {name: compose(f"method={name}").method for name in METHODS}
    code = f"""
import json, sys
from agwm.method import build_method
for name, config in json.load(sys.stdin).items():
    build_method(config).plan()
    heavy = [module for module in {HEAVY} if module in sys.modules]
    assert not heavy, (name, heavy)
print("all", len(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(configs), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("all ")
