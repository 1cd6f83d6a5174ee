import io

import pytest

from agwm import predict


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """`command(*argv, stdin=b"")`: exit code, stdout and stderr, in an empty directory."""
    monkeypatch.chdir(tmp_path)

    def called(*argv, stdin=b""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        return predict.main([str(argument) for argument in argv]), *capsys.readouterr()

    return called
