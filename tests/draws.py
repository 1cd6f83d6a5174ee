"""How often torch draws a dropout mask."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class CountedDraws(TorchDispatchMode):
    draws = 0

    def __torch_dispatch__(self, operation, types, inputs=(), options=None):
        self.draws += operation is torch.ops.aten.bernoulli_.float
        return operation(*inputs, **(options or {}))
