import subprocess
import sys

import pytest
import torch

from agwm.training.memory import peak_memory

# Page faults of taking and filling 40 MB where 72 MB were freed before.
_FAULTS = """
import resource, sys
import torch
from agwm.training.memory import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
[torch.ones(6 << 20) for _ in range(3)]
for _ in range(20):
    torch.ones(10 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(10 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a setting of glibc")
def test_freed_memory_is_taken_again_without_page_faults():
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", _FAULTS, how]))
        for how in ("keep", "return")
    }
    assert faults["keep"] < 100
    assert faults["return"] > 1000  # else the machine needs no setting, and the test shows nothing


def test_the_peak_is_in_bytes():
    held = torch.ones(32 << 20)
    assert held.nbytes < peak_memory() < 1 << 40
