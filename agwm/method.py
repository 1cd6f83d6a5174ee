"""The contract that every method refines: what it may change, and what it gets to work with.

A method is a dataclass whose fields are its hyper-parameters; the values live in its yaml alone.
It overrides the one place where it differs from vanilla fine-tuning. Nothing heavy is imported at
the top of this file or of a method's file: a mistake in a configuration passes through them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agwm.config import Optim
from agwm.errors import UserError, no_such_key
from agwm.seeding import derive

if TYPE_CHECKING:
    import torch
    from numpy.random import Generator
    from torch import Tensor
    from torch.nn import Module
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

    from agwm.models.pretrained import Pretrained

Batch = Mapping[str, "Tensor"]  # input_ids, attention_mask, ..., labels


@dataclass(frozen=True)
class Phase:
    """One fit of a method's plan; progress, time left and the runner's fits follow it."""

    name: str  # "search 2/5", "finetune"
    epochs: int | None = None  # None = as optim says
    share: float = 1.0  # of the training examples that one epoch goes through
    passes: float = 1.0  # forward-and-backward passes of one step
    batch_size: int | None = None  # None = as optim says
    streams: tuple[str | int, ...] = ()  # purpose of its batch order and dropout; () = vanilla's
    as_long_as: tuple[Phase, ...] = ()  # instead of epochs: as many passes as these have together


@dataclass(frozen=True)
class Step:
    """The optimizer step that a hook works on."""

    index: int  # from 0
    total: int  # steps of the whole fit
    seed: int  # of this step alone
    optimizer: Optimizer

    @property
    def lr(self) -> float:
        """Learning rate of the first group at this step."""
        return self.optimizer.param_groups[0]["lr"]

    def generator(self, purpose: str, device: torch.device) -> torch.Generator:
        """Random numbers of this step, apart from its dropout."""
        import torch

        return torch.Generator(device).manual_seed(derive(self.seed, purpose))


class Runner(Protocol):
    """What a method is given to run with; `agwm.training.runner` implements it."""

    optim: Optim
    fresh: frozenset[str]  # parameters that are not the checkpoint's: the head, a top drawn anew
    labels: Sequence[int] | Sequence[float]  # of the training examples, as they are learned
    classes: int | None  # None = regression

    def pretrained(self, *head: str | int) -> PreTrainedModel:
        """Model on its device; with `head`, the head is not the run's but one drawn for that."""

    def stream(self, *purpose: str | int) -> Generator:
        """Random generator of the stream `(seed, *purpose)`."""

    def seed(self, *purpose: str | int) -> int:
        """Seed of the stream `(seed, *purpose)`."""

    def finetune(self, model: Module, method: Method, phase: Phase) -> None:
        """Fit `model` in place by the hooks of `method`."""

    def search(self, model: Module, settings: Any, k: int, phase: Phase) -> None:
        """Run bilevel search `k` on the mixed `model`, in place."""

    def gradients(self, model: Module, phase: Phase) -> Iterator[None]:
        """One pass over the training examples: at each turn the gradients of a batch are there."""

    def held_out(self, share: float) -> list[int]:
        """Indices of the training examples that a phase of this share leaves out."""

    def logits(self, model: Module, examples: Sequence[int] | None = None) -> Tensor:
        """Outputs for training examples, without dropout; (examples, labels), on the CPU."""

    def score(self, logits: Tensor, examples: Sequence[int]) -> float:
        """The task's headline metric on training examples, in [-1, 1]."""


@dataclass(kw_only=True)
class Method:
    """Vanilla fine-tuning; one hook for each place where a method may differ."""

    name: str
    # Field values at which the method equals vanilla bit for bit; None = there are none.
    neutral: ClassVar[dict[str, Any] | None] = None

    def plan(self) -> list[Phase]:
        """The fits of `run`, in order; the last one is that of the hooks below."""
        return [Phase("finetune")]

    def run(self, runner: Runner) -> Module:
        """Train, and return the model to be evaluated."""
        model = self.prepare(runner.pretrained(), runner)
        runner.finetune(model, self, self.plan()[-1])
        return model

    def prepare(self, model: PreTrainedModel, runner: Runner) -> Module:
        """Change the loaded model, which is on its device, before its optimizer exists."""
        return model

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        """Groups for AdamW: decay for matrices, none for biases and norms."""
        from agwm.numerics.optim import weight_groups

        return weight_groups(model, optim.lr, optim.weight_decay)

    def build_optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Optimizer over `groups`; betas (0.9, 0.999) and eps 1e-8 as in the paper."""
        from agwm.numerics.optim import adamw

        return adamw(groups)

    def loss(self, model: Module, batch: Batch, step: Step) -> Tensor:
        """Scalar training loss of one batch."""
        return model(**batch).loss

    def backward(
        self, model: Module, batch: Batch, step: Step, backward: Callable[[Tensor], None]
    ) -> Tensor:
        """Fill the gradients for one step; returns the loss to be logged."""
        loss = self.loss(model, batch, step)
        backward(loss)
        return loss.detach()

    def before_step(self, model: Module, step: Step) -> None:
        """Change gradients or parameters in place: after clipping, before the optimizer's step."""

    def after_step(self, model: Module, step: Step) -> None:
        """Change parameters in place after the optimizer's step: put them into their bounds."""

    def merge(self, model: Module) -> Module:
        """The trained model with what the method put into it folded in."""
        return model

    def save(self, model: Module, loaded: Pretrained, folder: Path) -> None:
        """Write what `merge` returned, and the tokenizer, to `folder`, whole or not at all."""
        from agwm.models.export import save_model

        save_model(model, loaded.tokenizer, folder)


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
    merged, key = OmegaConf.structured(found), ""
    try:
        # One by one: not every error knows its key.
        for key in values:
            merged.merge_with({key: values[key]})
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        reason = (error.msg or str(error)).splitlines()[0]
        key = error.full_key or key
        known = [f"method.{field.name}" for field in fields(found)]
        if f"method.{key}" not in known:
            raise UserError(no_such_key(f"method.{key}={values.get(key)}", known)) from error
        raise UserError(f"method.{key}={values.get(key)}: {reason}") from error
