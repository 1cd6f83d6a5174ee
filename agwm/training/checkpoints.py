"""What a run that has not ended keeps: its finished fits, and the one that it was stopped in.

A fit depends on its seed and on what came before it, so that a fit repeated from its start gives
the same bits as one that was never interrupted. After a kill that is what happens; a polite stop
leaves time to keep the fit under way, too.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.nn import Module

from agwm.atomic import replacing
from agwm.errors import one_line
from agwm.training.midway import overwrite, trained

_LOG = logging.getLogger("agwm")
_PAUSED = "paused.pt"


class Checkpoints:
    """`checkpoints/` of a run: trained parameters and the run's account behind each fit.

    `<fit>.safetensors` for each that is over, and one `paused.pt`, whatever its fit, which holds
    the optimizers as well and is read with `weights_only`.

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
        tensors = {name: p.detach().cpu().contiguous() for name, p in trained(model).items()}
        metadata = {"origin": self.origin, "account": json.dumps(account)}
        if self._write(self._path(fit), lambda path: save_file(tensors, path, metadata)):
            (self.folder / _PAUSED).unlink(missing_ok=True)

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
        if tensors.keys() != trained(model).keys():
            return None
        overwrite(model, tensors)
        return json.loads(metadata["account"])

    def pause(self, fit: int, state: dict[str, Any]) -> None:
        """Keep the fit number `fit` as it is between two of its steps, in the place of any other.

        Args:
            fit: which is under way.
            state: tensors, numbers and text, in lists and dicts.
        """
        whole = {"fit": fit, "origin": self.origin, **state}
        self._write(self.folder / _PAUSED, lambda path: torch.save(whole, path))

    def paused(self, fit: int) -> dict[str, Any] | None:
        """What `pause` kept of the fit number `fit`, on the CPU; None if there is nothing."""
        try:
            state = torch.load(
                self.folder / _PAUSED, map_location="cpu", mmap=True, weights_only=True
            )
            return state if (state["fit"], state["origin"]) == (fit, self.origin) else None
        except FileNotFoundError:
            return None
        except MemoryError:
            raise
        except Exception as error:  # whatever is wrong with it, the fit can be repeated
            _LOG.warning("%s cannot be read: %s", _PAUSED, one_line(error))
            return None

    def _write(self, path: Path, write: Callable[[Path], None]) -> bool:
        try:
            self.folder.mkdir(exist_ok=True)
            with replacing(path) as temporary:
                write(temporary)
        except (OSError, RuntimeError, SafetensorError) as error:
            _LOG.warning("no checkpoint %s: %s", path.name, error)
            return False
        return True

    def _path(self, fit: int) -> Path:
        return self.folder / f"{fit}.safetensors"
