import pytest
import torch

from agwm.errors import RunError
from agwm.training.memory import peak_memory, told_if_short


def test_the_peak_is_in_bytes():
    held = torch.ones(32 << 20)
    assert held.nbytes < peak_memory() < 1 << 40


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory."),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("unable to mmap: Cannot allocate memory (12)"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
    ids=repr,
)
def test_memory_that_is_short_is_told_as_that(error):
    with pytest.raises(RunError, match="out of memory; a smaller"), told_if_short():
        raise error


def test_another_error_is_left_as_it_is():
    with pytest.raises(RuntimeError, match="shapes"), told_if_short():
        raise RuntimeError("shapes do not fit")
