import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
CHECKOUT = Path(__file__).parents[1]
SOURCES = ("agwm", "conf", "sweeps", "pyproject.toml", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Folder with the unpacked wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        if (CHECKOUT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(CHECKOUT / name, source / name, ignore=ignored)
        else:
            shutil.copy(CHECKOUT / name, source)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
    built = subprocess.run([*command, source], capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    (archive,) = folder.glob("*.whl")
    shutil.rmtree(source)
    zipfile.ZipFile(archive).extractall(folder / "unpacked")
    return folder / "unpacked"


def command(wheel, cwd, *argv):
    return subprocess.run(
        [sys.executable, "-m", "agwm.train", *argv],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(wheel), "PYTHONSAFEPATH": "1"},
    )


def test_the_wheel_holds_the_package_with_its_configuration_and_nothing_else(wheel):
    folders = {path.name for path in wheel.iterdir()}
    assert {name for name in folders if not name.endswith(".dist-info")} == {"agwm"}
    packaged = wheel / "agwm" / "packaged"
    for group in ("conf", "sweeps"):
        expected = {path.relative_to(CHECKOUT) for path in (CHECKOUT / group).rglob("*.yaml")}
        found = {path.relative_to(packaged) for path in (packaged / group).rglob("*.yaml")}
        assert found == expected
    assert (packaged / "conf" / "train.yaml").is_file()
    (licence,) = wheel.glob("*.dist-info/licenses/LICENSE")
    assert licence.stat().st_size > 1000


def test_the_wheel_composes_from_an_empty_directory(wheel, tmp_path):
    result = command(wheel, tmp_path, "--cfg", "job", "task=cola", "model=roberta_large")
    assert result.returncode == 0, result.stderr
    assert "name_or_path: FacebookAI/roberta-large" in result.stdout
    assert "steps: 5336" in result.stdout


def test_the_wheel_reads_its_own_configuration_and_no_strangers(wheel, tmp_path):
    strangers = (tmp_path / "conf", wheel / "conf")
    for folder in strangers:
        folder.mkdir()
        (folder / "train.yaml").write_text("stranger: true\n")
    result = command(wheel, tmp_path, "--cfg", "job")
    for folder in strangers:
        shutil.rmtree(folder)
    assert result.returncode == 0, result.stderr
    assert "stranger" not in result.stdout and "num_searches: 5" in result.stdout


@pytest.mark.parametrize("arguments", [["sweep=mine"], ["+sweeps=rank"], ["-m", "sweep=mine"]])
def test_keys_and_sweeps_of_the_wheel_are_told_apart(wheel, tmp_path, arguments):
    result = command(wheel, tmp_path, *arguments, "model=tiny", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "to do" in result.stdout


def test_a_mistake_is_told_by_the_wheel_as_by_the_checkout(wheel, tmp_path):
    result = command(wheel, tmp_path, "method=nosuch")
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and "nosuch" in result.stderr
