"""Finished fits of a run that has not ended: a start after a kill goes on behind them.

A fit depends on its seed and on what came before it, so that a fit repeated from its start gives
the same bits as one that was never interrupted.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import Module

from agwm.atomic import replacing

_LOG = logging.getLogger("agwm")


class Checkpoints:
    """`checkpoints/<fit>.safetensors` of a run: trained parameters, and the run's account so far.

    Args:
        folder: the run's directory.
        origin: all that the parameters depend on; a checkpoint of another origin is not used.
    """

    NAME = "checkpoints"

    def __init__(self, folder: Path, origin: dict[str, Any]) -> None:
        self.folder = folder / self.NAME
        self.origin = json.dumps(origin, sort_keys=True)

    def save(self, fit: int, model: Module, account: dict[str, Any]) -> None:
        """Keep `model` as it is after the fit number `fit`, whole or not at all.

        A disk that is full costs the checkpoint and not the run.
        """
        tensors = {name: p.detach().cpu().contiguous() for name, p in _trained(model).items()}
        metadata = {"origin": self.origin, "account": json.dumps(account)}
        try:
            self.folder.mkdir(exist_ok=True)
            with replacing(self._path(fit)) as temporary:
                save_file(tensors, temporary, metadata)
        except (OSError, SafetensorError) as error:
            _LOG.warning("no checkpoint of fit %d: %s", fit, error)

    def restore(self, fit: int, model: Module) -> dict[str, Any] | None:
        """Put what `save` kept into `model` and return the account; None if there is nothing."""
        try:
            with safe_open(self._path(fit), "pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("origin") != self.origin:
                    return None
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (FileNotFoundError, SafetensorError):
            return None
        trained = _trained(model)
        if tensors.keys() != trained.keys():
            return None
        with torch.no_grad():
            for name, parameter in trained.items():
                parameter.copy_(tensors[name])
        return json.loads(metadata["account"])

    def _path(self, fit: int) -> Path:
        return self.folder / f"{fit}.safetensors"


def _trained(model: Module) -> dict[str, torch.nn.Parameter]:
    """Parameters that a fit changes; W0 and other frozen ones come from the checkpoint again."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}
