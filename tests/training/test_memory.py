import torch

from agwm.training.memory import peak_memory


def test_the_peak_is_in_bytes():
    held = torch.ones(32 << 20)
    assert held.nbytes < peak_memory() < 1 << 40
