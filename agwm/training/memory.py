"""The process's memory: how freed memory is kept, and the most that was held."""

import ctypes
import errno
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from agwm.errors import RunError, one_line

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
# Bytes; the blocks of a BERT-base are kept. Those of larger models leave holes that little else
# fits into, and the peak of a search step grows by a seventh (docs/performance.md).
_LARGEST = 10 << 20
# What PyTorch, CUDA and its libraries say.
_SHORT = ("can't allocate memory", "cannot allocate memory", "out of memory", "alloc_failed")


def keep_freed_memory() -> None:
    """Have malloc keep what is freed for the next allocation, where it is glibc's.

    By default large blocks go back to the system at once, and come back page by page, each with a
    fault and zeroed. A training step frees and takes hundreds of megabytes: docs/performance.md.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, -1)  # never
        # What has a mapping of its own is unmapped when freed; larger blocks have one only where
        # nothing that was freed has room for them.
        mallopt(_M_MMAP_THRESHOLD, _LARGEST)


@contextmanager
def told_if_short() -> Iterator[None]:
    """Where memory runs out inside, say so, and what takes less.

    Raises:
        RunError: instead of what torch raises: of a CPU's memory it knows the text alone.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        short = isinstance(error, MemoryError | torch.OutOfMemoryError)
        short = short or getattr(error, "errno", None) == errno.ENOMEM
        if not (short or any(sign in str(error).lower() for sign in _SHORT)):
            raise
        raise RunError(
            "out of memory; a smaller optim.batch_size or optim.max_length, or a smaller model, "
            f"takes less ({one_line(error) or type(error).__name__})"
        ) from error


def peak_memory() -> int:
    """Bytes: of the GPU where one was used, else of this process so far."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    # Kilobytes everywhere but on macOS, which counts bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
