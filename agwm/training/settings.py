"""What torch keeps for a whole process, and a result would depend on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_settings(threads: int | None) -> Iterator[None]:
    """Float32 as the default type and `threads` of the CPU inside; as they were, behind it.

    Args:
        threads: None = as many as there are already.
    """
    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
        torch.set_default_dtype(dtype)
