"""One fit of a model by a method: a LightningModule that holds both."""

import time
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Module
from transformers import get_linear_schedule_with_warmup

from agwm.config import Optim
from agwm.method import Batch, Method, Phase, Step
from agwm.numerics.distributed import average_gradients
from agwm.numerics.rng import seeded
from agwm.seeding import derive
from agwm.training.midway import tensors_of
from agwm.training.plain import clip_finite, warmup_share

_WHOLE = Phase("finetune")


def warmup_steps(optim: Optim, total_steps: int) -> int:
    """Steps of linear warm-up."""
    if optim.warmup_steps is not None:
        return optim.warmup_steps
    return warmup_share(optim.warmup_ratio, total_steps)


class PassCounter:
    """Counts seconds and forward passes in training, whatever calls the model."""

    def __init__(self, model: Module) -> None:
        self.forward = 0
        self.before = 0.0  # seconds of an earlier start
        self._started = time.perf_counter()
        self._hook = model.register_forward_pre_hook(self._count)

    def _count(self, module: Module, inputs: Any) -> None:
        self.forward += module.training

    @property
    def seconds(self) -> float:
        """Since the start."""
        return self.before + time.perf_counter() - self._started

    def close(self) -> None:
        """Take the hook away."""
        self._hook.remove()


class FineTuneModule(LightningModule):
    """Fit `model` with the hooks of `method`; manual optimization, so that the order is here.

    In a process group (`torchrun`, each process with a Trainer of one device and the same seed)
    each has its share of every batch, all of one size, and all take the same step; see
    `agwm.numerics.distributed`.

    Args:
        model: sequence classifier, mixed or plain.
        method: gives groups, optimizer, gradients and what follows a step.
        optim: the recipe.
        steps: optimizer steps of the whole fit, for the schedule.
        seed: of the run; step t draws its dropout from the stream (seed, "dropout", *streams, t),
            with the streams of the phase.
        phase: of the method's plan.
        before: steps of the run's earlier fits, for the log.
    """

    def __init__(
        self,
        model: Module,
        method: Method,
        optim: Optim,
        steps: int,
        seed: int,
        phase: Phase = _WHOLE,
        before: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.method = method
        self.optim = optim
        self.steps = steps
        self.seed = seed
        self.phase = phase
        self.before = before
        self.step = 0
        self.passed = 0  # batches still to come that an earlier start has seen

    def kept(self) -> dict[str, Any]:
        """For `restore`, beside the parameters."""
        return {"step": self.step, "method": tensors_of(self.method)}

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on from there."""
        self.step = kept["step"]
        vars(self.method).update(kept["method"])

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.method.build_optimizer(
            self.method.parameter_groups(self.model, self.optim)
        )
        warmup = warmup_steps(self.optim, self.steps)
        schedule = get_linear_schedule_with_warmup(optimizer, warmup, self.steps)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_fit_start(self) -> None:
        # from_pretrained returns the model in eval mode, and Lightning leaves it there.
        self.model.train()

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        if self.passed:
            self.passed -= 1
            return
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        optimizer.zero_grad()
        seed = derive(self.seed, "dropout", *self.phase.streams, self.step)
        step = Step(self.step, self.steps, seed, optimizer.optimizer)
        lr = step.lr
        with seeded(seed):
            loss = self.method.backward(self.model, batch, step, self._backward)
        where = f"{self.phase.name}, step {self.step}"
        clip_finite(optimizer, self.optim.max_grad_norm, loss, self.model, where)
        self.method.before_step(self.model, step)
        optimizer.step()
        self.method.after_step(self.model, step)
        schedule.step()
        self.step += 1
        self.log_dict(
            {"finetune/step": self.before + self.step, "finetune/loss": loss, "finetune/lr": lr}
        )

    def _backward(self, loss: Tensor) -> None:
        self.manual_backward(loss)
        # Here, before a method makes masks of the gradients: they are to be the same everywhere.
        # Gradients of an earlier pass are averaged already, and their mean is what they are.
        average_gradients(self.model.parameters())
