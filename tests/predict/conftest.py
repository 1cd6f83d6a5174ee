import io
from shutil import copytree

import pytest
from trained_folder import save_trained

from agwm import predict


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a classifier of single texts."""
    return save_trained(tmp_path_factory.mktemp("trained") / "model")


@pytest.fixture
def folder(model, tmp_path):
    """A copy of it to be changed."""
    return copytree(model, tmp_path / "model")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """`command(*argv, stdin=b"")`: exit code, stdout and stderr, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def called(*argv, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return predict.main([str(argument) for argument in argv]), *capsys.readouterr()

    return called
