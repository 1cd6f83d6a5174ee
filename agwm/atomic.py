"""Files that are there whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """A reader of `path` sees what was there before or all of `text`, never a part."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to be written in the place of `path`; it takes that place if nothing is raised."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Have the system write the file's content to the disk, ahead of its name."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_partial(*folders: Path) -> None:
    """Take away what processes that were killed in `replacing` have left."""
    for path in (path for folder in folders for path in folder.glob(".*.*[0-9]")):
        if path.is_file() and path.suffix[1:].isdecimal():
            path.unlink()
