"""One process at a time works in a run's directory."""

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from agwm.errors import UserError

_FILE = ".lock"


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold `folder`, made if missing, for this process.

    The lock is the system's and ends with the process, however that ends.

    Raises:
        UserError: the folder cannot be made or written to, or another process holds it.
    """
    path = folder / _FILE
    with _held(path):
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _held(path: Path) -> TextIO:
    """The lock's open file."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{path.parent}: cannot be made or written to ({error}); give another runs_dir"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                holder = file.read().strip() or "another process"
            raise UserError(
                f"{path.parent}: {holder} works there; "
                "wait for it, or give another runs_dir or sweep"
            ) from error
        except OSError:
            return file  # a file system without locks: nothing to hold
        if _is_at(path, file):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}\n")
            file.flush()
            return file
        file.close()  # whoever held it has taken it away since we opened it


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
