import re
import shlex
import sys
from types import ModuleType

import pytest

from agwm import train
from agwm.method import build_method
from agwm.paths import root

README = (root() / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip()
    for line in re.findall(r"^python -m agwm\.train.*$", README, flags=re.MULTILINE)
]


def test_there_are_commands_to_try():
    assert len(COMMANDS) >= 6


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes(command, monkeypatch, capsys):
    words = [word for word in shlex.split(command)[3:] if word != "-m"]
    first = [
        word.split("range(")[0] + "0" if "range(" in word else word.split(",")[0] for word in words
    ]
    monkeypatch.setattr(sys, "argv", ["agwm.train", *first, "--cfg", "job"])
    monkeypatch.setattr(train, "_exit_codes", [])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 0
    assert "_target_: agwm.methods." in capsys.readouterr().out


def test_the_example_of_a_new_method_runs(tiny_run, compose, monkeypatch):
    code = re.search(r"```python\n# (agwm/methods/\w+)\.py\n(.*?)```", README, flags=re.DOTALL)
    target = re.search(r"_target_: (agwm\.methods\.(\w+)\.\w+)", README)
    name = code.group(1).replace("/", ".")
    assert name == f"agwm.methods.{target.group(2)}"
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(code.group(2), module.__dict__)
    method = build_method({"_target_": target.group(1), "name": target.group(2)})
    monkeypatch.setattr("agwm.methods.vanilla.Vanilla.prepare", type(method).prepare)
    record, _ = tiny_run("method=vanilla")
    assert record.status == "ok"


def test_the_method_table_names_every_method():
    choices = re.search(r"^\| `method` \| `([^`]*)`", README, flags=re.MULTILINE).group(1)
    assert sorted(choices.split()) == sorted(
        p.stem for p in (root() / "conf/method").glob("*.yaml")
    )
