"""The process's memory: how freed memory is kept, and the most that was held."""

import ctypes
import resource
import sys

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = 32 << 20  # bytes: glibc accepts no more


def keep_freed_memory() -> bool:
    """Have malloc keep what is freed for the next allocation; whether it is glibc's and agreed.

    By default large blocks go back to the system at once, and come back page by page, each with a
    fault and zeroed. A training step frees and takes hundreds of megabytes: docs/performance.md.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    never = mallopt(_M_TRIM_THRESHOLD, -1)
    # What has a mapping of its own is unmapped when freed; larger blocks have one only where
    # nothing that was freed has room for them.
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and never)


def peak_memory() -> int:
    """Bytes: of the GPU where one was used, else of this process so far."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return torch.cuda.max_memory_allocated()
    # Kilobytes everywhere but on macOS, which counts bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
