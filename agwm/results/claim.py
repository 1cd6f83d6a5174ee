"""One process at a time works in a run's directory."""

import errno
import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    with _held(path) as file:
        try:
            yield
        finally:
            if _is_at(path, file):
                path.unlink()


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
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK):
                return file  # a file system without locks: nothing to hold
            raise UserError(f"{path}: cannot be locked ({error})") from error
        if _is_at(path, file):
            file.truncate(0)
            with suppress(OSError):  # a courtesy, that a full disk may have no room for
                file.write(f"process {os.getpid()} on {platform.node()}\n")
                file.flush()
            return file
        file.close()  # whoever held it has taken it away since we opened it


def _is_at(path: Path, file: TextIO) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
