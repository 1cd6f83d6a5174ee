import platform
import subprocess
import sys

import torch

from agwm.training.memory import peak_memory


def test_malloc_agrees_where_it_is_glibc():
    code = "from agwm.training.memory import keep_freed_memory; print(keep_freed_memory())"
    said = subprocess.check_output([sys.executable, "-c", code], text=True).strip()
    assert said == str(platform.libc_ver()[0] == "glibc")


def test_the_peak_is_in_bytes():
    held = torch.ones(32 << 20)
    assert held.nbytes < peak_memory() < 1 << 40
