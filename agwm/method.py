"""The contract that every method refines: what it may change, and what it gets to work with.

A method is a dataclass whose fields are its hyper-parameters; the values live in its yaml alone.
It overrides the one place where it differs from vanilla fine-tuning. Nothing heavy is imported at
the top of this file or of a method's file: a mistake in a configuration passes through them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agwm.config import Optim
from agwm.errors import UserError

if TYPE_CHECKING:
    from numpy.random import Generator
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

Batch = Mapping[str, "Tensor"]  # input_ids, attention_mask, ..., labels


@dataclass(frozen=True)
class Phase:
    """One fit of a method's plan, from which progress and time left are told."""

    name: str  # "search 2/5", "finetune"
    epochs: int | None  # None = as optim says
    share: float = 1.0  # of the training examples that one epoch goes through
    passes: float = 1.0  # forward-and-backward passes of one step


class Runner(Protocol):
    """What a method is given to run with; `agwm.training.runner` implements it."""

    optim: Optim
    fresh: frozenset[str]  # names of the parameters that no checkpoint holds: the head

    def pretrained(self) -> PreTrainedModel: ...
    def stream(self, *purpose: str | int) -> Generator: ...
    def finetune(self, model: Module, method: Method, epochs: int | None = None) -> None: ...
    def search(self, model: Module, settings: Any, k: int) -> None: ...


@dataclass(kw_only=True)
class Method:
    """Vanilla fine-tuning; one hook for each place where a method may differ."""

    name: str
    # Field values at which the method equals vanilla bit for bit; None = there are none.
    neutral: ClassVar[dict[str, Any] | None] = None

    def plan(self) -> list[Phase]:
        """The fits of `run`, in order."""
        return [Phase("finetune", epochs=None)]

    def run(self, runner: Runner) -> Module:
        """Train, and return the model to be evaluated."""
        model = self.prepare(runner.pretrained(), runner)
        runner.finetune(model, self)
        return model

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        """Change the loaded model before its optimizer exists."""
        return model

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        """Groups for AdamW: decay for matrices, none for biases and norms."""
        from agwm.numerics.optim import weight_groups

        return weight_groups(model, optim.lr, optim.weight_decay)

    def build_optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Optimizer over `groups`; betas (0.9, 0.999) and eps 1e-8 as in the paper."""
        from agwm.numerics.optim import adamw

        return adamw(groups)

    def loss(self, model: Module, batch: Batch) -> Tensor:
        """Scalar training loss of one batch."""
        return model(**batch).loss

    def backward(self, model: Module, batch: Batch, backward: Callable[[Tensor], None]) -> Tensor:
        """Fill the gradients for one step; returns the loss to be logged."""
        loss = self.loss(model, batch)
        backward(loss)
        return loss.detach()

    def transform_gradients(self, model: Module) -> None:
        """Change the gradients in place: after clipping, before the step."""

    def after_step(self, model: Module) -> None:
        """Put the parameters back into their bounds."""


def build_method(config: Mapping[str, Any]) -> Method:
    """Method of a composed `conf/method/*.yaml`, with names, types and ranges checked.

    Raises:
        UserError: unknown key, wrong type, value out of range, or a class that is no method.
    """
    values = dict(config)
    target = str(values.pop("_target_", None))
    module_name, _, class_name = target.rpartition(".")
    # Importing runs code: only our own modules are importable from a configuration.
    found = None
    if module_name.startswith("agwm.methods."):
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ModuleNotFoundError:
            pass
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UserError(f"method._target_={target}: must be a method class in agwm.methods")
    try:
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(found), values))
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        key = f"method.{error.full_key}" if error.full_key else "method"
        raise UserError(f"{key}={values.get(error.full_key)}: {reason}") from error
