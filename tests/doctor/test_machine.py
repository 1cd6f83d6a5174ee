import locale
import platform
import shutil
import sys
from importlib import metadata
from types import SimpleNamespace

import psutil
import pytest
import torch

from agwm.doctor import machine, weights
from agwm.doctor.finding import NOTE, OK, PROBLEM
from agwm.results.record import versions

GIB = 2**30


@pytest.fixture
def requires(monkeypatch):
    """`requires(*lines)`: what the installed distribution asks for."""

    def set_to(*lines, python=">=3.11"):
        own = {"Version": "0.1.0", "Requires-Python": python}
        monkeypatch.setattr(metadata, "metadata", lambda name: own)
        monkeypatch.setattr(metadata, "requires", lambda name: list(lines))

    return set_to


def test_packages_within_their_ranges_are_told_with_their_versions(rows, requires):
    requires("torch>=2", "numpy>=2", 'nosuch>=1; extra == "slurm"', 'pytest>=8; extra == "dev"')
    python, packages = rows(machine.check_packages)
    assert python[1] == packages[1] == OK
    assert platform.python_version() in python[2]
    known = versions()
    for name in ("torch", "numpy"):
        assert f"{name} {known[name]}" in packages[2]
    assert f"pytest {pytest.__version__}" in packages[2] and "nosuch" not in packages[2]


def test_packages_out_of_range_or_missing_are_problems(rows, requires):
    requires("torch>=99", "nosuch<3,>=1", 'pytest<1; extra == "dev"', "numpy", python=">=3.99")
    found = {about: (state, said) for about, state, said in rows(machine.check_packages)}
    assert found["python"][0] == PROBLEM and ">=3.99" in found["python"][1]
    assert found["torch"][0] == PROBLEM and "pip install 'torch>=99'" in found["torch"][1]
    assert found["nosuch"] == (PROBLEM, "not installed pip install 'nosuch<3,>=1'")
    assert found["pytest"][0] == PROBLEM
    assert "torch" not in found["packages"][1] and "numpy" in found["packages"][1]


def test_an_installation_without_metadata_is_noted(rows, monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", missing)
    ((_, state, said),) = rows(machine.check_packages)
    assert state == NOTE and "pip install" in said


def test_more_threads_than_cores_are_noted(rows, monkeypatch):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert rows(machine.check_device, "trainer.threads=3")[0][1] == OK
    about, state, said = rows(machine.check_device, "trainer.threads=4")[0]
    assert (about, state) == ("CPU", NOTE)
    assert "cores for this process: 3, threads: 4" in said and "trainer.threads=3" in said


@pytest.mark.parametrize("asked", ["gpu", "cuda", "mps"])
def test_an_accelerator_that_is_not_there_is_a_problem(rows, monkeypatch, asked):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert rows(machine.check_device, "trainer.accelerator=cpu")[-1][1] == OK
    about, state, said = rows(machine.check_device, f"trainer.accelerator={asked}")[-1]
    assert (about, state) == ("GPU", PROBLEM) and f"trainer.accelerator={asked}" in said


def test_a_gpu_that_torch_does_not_see_is_noted(rows, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert rows(machine.check_device)[-1][1] == NOTE


def test_gpus_are_told_with_their_memory(rows, monkeypatch):
    free = [10 * GIB, 1]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free[index], 16 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Fast")
    _, first, second = rows(machine.check_device, "trainer.accelerator=gpu")
    assert first == ("GPU 0", OK, "Fast; 10.0 GiB of 16.0 GiB free ")
    assert second[:2] == ("GPU 1", NOTE)


def test_little_memory_is_noted(rows, monkeypatch, tmp_path):
    size = weights.weights_size(SimpleNamespace(name_or_path=str(tmp_path), package=None))
    assert size is None
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    model = f"model.name_or_path={tmp_path}"
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)

    def memory(free):
        found = SimpleNamespace(available=free, total=GIB)
        monkeypatch.setattr(psutil, "virtual_memory", lambda: found)
        ((_, state, _),) = rows(machine.check_memory, model)
        return state

    assert memory(9000) == OK
    assert memory(8999) == NOTE
    # A container has 9,500 bytes and uses some of them.
    (tmp_path / "memory.max").write_text("9500\n")
    (tmp_path / "memory.current").write_text("500\n")
    assert memory(GIB) == OK
    (tmp_path / "memory.current").write_text("501\n")
    assert memory(GIB) == NOTE
    (tmp_path / "memory.max").write_text("max\n")
    assert memory(GIB) == OK


def test_weights_in_several_files_are_counted_together(compose, tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    for part in range(2):
        (tmp_path / f"model-{part}.safetensors").write_bytes(bytes(500))
    assert weights.weights_size(compose(f"model.name_or_path={tmp_path}").model) == 1000


def test_a_disk_without_room_for_the_checkpoints_is_a_problem(rows, monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(1000))
    overrides = [f"model.name_or_path={tmp_path}", f"runs_dir={tmp_path}/new/runs"]

    def disk(free, method):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
        ((_, state, _),) = rows(machine.check_runs_dir, *overrides, f"method={method}")
        return state

    # Five searches and the fine-tuning, and one fit.
    assert disk(6001, "agwm") == OK
    assert disk(6000, "agwm") == PROBLEM
    assert disk(1001, "vanilla") == OK
    assert disk(1000, "vanilla") == PROBLEM
    assert not (tmp_path / "new").exists()


def test_a_runs_dir_that_cannot_be_written_is_a_problem(rows, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    ((_, state, said),) = rows(machine.check_runs_dir, f"runs_dir={tmp_path}/file/runs")
    assert state == PROBLEM and "runs_dir=FOLDER" in said

    def refused(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(machine.tempfile, "TemporaryFile", refused)
    ((_, state, said),) = rows(machine.check_runs_dir, f"runs_dir={tmp_path}")
    assert state == PROBLEM and "Permission denied" in said


def test_another_encoding_than_utf8_is_a_problem(rows, monkeypatch):
    monkeypatch.setattr(sys, "stdout", object())
    monkeypatch.setattr(sys, "__stdout__", SimpleNamespace(encoding="UTF-8"))
    monkeypatch.setattr(locale, "getpreferredencoding", lambda _: "utf8")
    assert rows(machine.check_encoding)[0][1] == OK
    monkeypatch.setattr(sys, "__stdout__", SimpleNamespace(encoding="ISO-8859-1"))
    ((_, state, said),) = rows(machine.check_encoding)
    assert state == PROBLEM and "terminal iso-8859-1" in said and "PYTHONUTF8=1" in said
