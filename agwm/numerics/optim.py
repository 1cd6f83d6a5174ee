"""AdamW as the paper has it, and the averages that are taken of its results."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def decayed(model: nn.Module) -> set[str]:
    """Names of the parameters that weight decay acts on: neither biases nor norms."""
    norms = {
        f"{module_name}.{name}".lstrip(".")
        for module_name, module in model.named_modules()
        if "norm" in type(module).__name__.lower()
        for name, _ in module.named_parameters(recurse=False)
    }
    return {n for n, _ in model.named_parameters() if "bias" not in n and n not in norms}


def weight_groups(
    model: nn.Module, lr: float, weight_decay: float, names: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Two AdamW groups over the trainable parameters (those in `names`): decay and none."""
    chosen = None if names is None else set(names)
    trained = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (chosen is None or name in chosen)
    }
    with_decay = decayed(model)
    return [
        {
            "params": [p for n, p in trained.items() if n in with_decay],
            "lr": lr,
            "weight_decay": weight_decay,
        },
        {
            "params": [p for n, p in trained.items() if n not in with_decay],
            "lr": lr,
            "weight_decay": 0.0,
        },
    ]


def adamw(groups: list[dict[str, Any]], eps: float = 1e-8) -> torch.optim.AdamW:
    """Decoupled decay, bias correction, betas (0.9, 0.999) (paper, appendix D)."""
    return torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=eps, fused=True)


def clip(optimizer: torch.optim.Optimizer, max_norm: float) -> Tensor:
    """Clip the gradients of `optimizer` to a global L2 norm, in place; returns the norm before.

    Groups marked `"clipped": False` are left out of the norm and of the clipping. Where the norm is
    not finite the gradients stay as they are, for whoever looks for the reason.
    """
    groups = [group for group in optimizer.param_groups if group.get("clipped", True)]
    parameters = [p for g in groups for p in g["params"] if p.grad is not None]
    length = torch.nn.utils.get_total_norm([p.grad for p in parameters])
    if max_norm < length < torch.inf:  # else torch would multiply every gradient by 1
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, length)
    return length


class RunningMean:
    """Mean of named tensors, one copy held; equal summands give that summand bit for bit."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: dict[str, Tensor] = {}

    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Take in one more summand; integer tensors are kept from the first."""
        self.count += 1
        for name, tensor in tensors.items():
            if self.count == 1:
                self.mean[name] = tensor.detach().clone()
            elif tensor.is_floating_point():
                self.mean[name] += (tensor.detach() - self.mean[name]) / self.count
