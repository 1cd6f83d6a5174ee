import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest

import agwm
from agwm.doctor import __main__ as doctor
from agwm.doctor.finding import NOTE, OK, PROBLEM, Finding

SECRETS = {
    "WANDB_API_KEY": "secret-of-wandb",
    "HF_TOKEN": "hf_secret",
    "HF_ENDPOINT": "http://user:secret-of-hub@127.0.0.1:9",
    "HTTPS_PROXY": "http://user:secret-of-proxy@127.0.0.1:9",
}


def shell(folder, *arguments, **environment):
    path = str(Path(agwm.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-m", "agwm.doctor", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        # No PATH, no Slurm to wait for.
        env=os.environ | {"PYTHONPATH": path, "PATH": ""} | environment,
    )


def test_the_whole_table_and_no_secret_in_it(tmp_path):
    done = shell(tmp_path, "model=tiny", HF_HUB_OFFLINE="", **SECRETS)
    assert done.returncode == 0, done.stdout + done.stderr
    for about in ("python", "packages", "CPU", "memory", "model", "data", "Hub", "W&B", "Slurm"):
        assert f" {about} " in done.stdout, about
    for about in ("Ray", "runs_dir", "encoding"):
        assert f" {about} " in done.stdout, about
    assert done.stdout.splitlines()[-1] == "no problem found"
    assert "secret" not in done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_problem_is_exit_code_1_and_is_told_in_any_encoding(tmp_path):
    (tmp_path / "дом").write_text("a file")
    done = shell(tmp_path, "model=tiny", "runs_dir='дом'", PYTHONIOENCODING="ascii")
    assert done.returncode == 1 and done.stderr == ""
    assert "\\u0434\\u043e\\u043c" in "".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "problems: 2"  # the encoding is one


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("optim.lr=fast", "error: optim.lr=fast: "),
        ("optim.nosuch=1", "error: optim.nosuch=1: no such key"),
        ("method=nosuch", "error: method=nosuch: no such method"),
        ("method.rank=0", "error: method.rank=0: must be"),
        ("nonsense", "error: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(argument, said, capsys):
    assert doctor.main([argument]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(said) and err.count("\n") == 1


@pytest.mark.parametrize(("state", "code"), [(OK, 0), (NOTE, 0), (PROBLEM, 1)])
def test_only_a_problem_changes_the_exit_code(monkeypatch, capsys, state, code):
    def check_thing(config):
        yield Finding("thing", state, "found [red]it[/red]", "mend it")

    monkeypatch.setattr(doctor, "CHECKS", (check_thing,))
    assert doctor.main(["model=tiny"]) == code
    out = capsys.readouterr().out
    assert state in out and "found [red]it[/red]" in out and "-> mend it" in out


def test_a_check_that_fails_is_a_problem_and_stops_no_other(monkeypatch, compose):
    real = builtins.__import__

    def broken(name, *rest):
        if name == "torch":
            raise ImportError("libcudart.so.13: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", broken)
    findings = doctor.findings_of(compose("model=tiny"))
    device = [finding for finding in findings if finding.about == "device"]
    assert device[0].state == PROBLEM and "libcudart.so.13" in device[0].found
    assert findings[-1].about == "encoding"


def test_every_check_is_in_the_table():
    for module in (doctor.machine, doctor.sources):
        names = {name for name in vars(module) if name.startswith("check_")}
        assert names == {c.__name__ for c in doctor.CHECKS if c.__module__ == module.__name__}
