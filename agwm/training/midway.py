"""A fit that was stopped between two steps: what its next step depends on."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from agwm.stopping import Held


class Midway(Callback):
    """Ends a fit between two steps when it is asked to stop, and takes up one that was ended so.

    Random numbers and batches follow from seeds and the number of the step, so that there is none
    of their state to keep.

    Args:
        held: tells whether it is to stop.
        save: is given the state then.
        state: that an earlier start has saved; None = from the beginning.
    """

    def __init__(
        self, held: Held, save: Callable[[dict[str, Any]], None], state: dict[str, Any] | None
    ) -> None:
        self.held = held
        self.save = save
        self.state = state

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        # Lightning would answer SIGTERM behind the step, before anything could be saved.
        self.held.listen()
        # Let go of at the end: it is as large as the model and its optimizers.
        state, self.state = self.state, None
        if state is None:
            return
        module.restore(state["module"])
        # Batches come from the first again, and are passed over.
        module.passed = module.step
        overwrite(module.model, state["weights"])
        for optimizer, own in zip(trainer.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        for config, own in zip(trainer.lr_scheduler_configs, state["schedules"], strict=True):
            config.scheduler.load_state_dict(own)
        # Lightning's count of the steps, which ends a fit by max_steps.
        loop = trainer.fit_loop.epoch_loop.manual_optimization
        loop.optim_step_progress.total.completed = state["global_step"]

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, *_: Any) -> None:
        if not self.held.asked:
            return
        self.save(
            {
                "module": module.kept(),
                "weights": {name: own.detach() for name, own in trained(module.model).items()},
                "optimizers": [optimizer.state_dict() for optimizer in trainer.optimizers],
                "schedules": [c.scheduler.state_dict() for c in trainer.lr_scheduler_configs],
                "global_step": trainer.global_step,
            }
        )
        self.held.stop()


def trained(model: torch.nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that a fit changes; W0 and frozen ones come from the model again."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    saved = model.state_dict().keys()
    return parameters | {name: b for name, b in model.named_buffers() if name in saved}


@torch.no_grad()
def overwrite(model: torch.nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put `tensors` into what is `trained`."""
    for name, own in trained(model).items():
        own.copy_(tensors[name])


def tensors_of(method: Any) -> dict[str, Any]:
    """Attributes of a method that hold tensors: what it remembers from one step to the next."""
    return {name: value for name, value in vars(method).items() if _holds_tensors(value)}


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(entry, Tensor) for entry in value.values())
    return isinstance(value, Tensor)
