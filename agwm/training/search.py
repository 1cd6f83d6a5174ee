"""The bilevel search under Lightning: its optimizers, schedules and log."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Module
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from agwm.bilevel import SearchSettings
from agwm.config import Optim
from agwm.numerics.optim import adamw, weight_groups
from agwm.seeding import derive
from agwm.training.finetune import warmup_steps
from agwm.training.search_step import Batch, SearchStep


class BilevelSearchModule(LightningModule):
    """Search number `k`: manual optimization, AdamW on W and AdamW on alpha, by `SearchStep`.

    In a process group (`torchrun`) each process has a Trainer of one device and its share of every
    batch, as `SearchStep` says.

    Args:
        model: mixed model (`agwm.models.mixed.mix_pretrained`).
        settings: the switches.
        optim: recipe of W; its clipping is `settings.max_grad_norm` here.
        steps: iterations of the whole search, for both schedules.
        seed: of the run; masks come from the stream (seed, "dropout", "search", k, step, pass).
        k: number of the search, from 0.
    """

    def __init__(
        self, model: Module, settings: SearchSettings, optim: Optim, steps: int, seed: int, k: int
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.model = model
        self.settings = settings
        self.optim = optim
        self.steps = steps
        self.k = k

        def mask_seed(step: int, mask: str) -> int:
            return derive(seed, "dropout", "search", k, step, mask)

        self.search = SearchStep(model, settings, mask_seed, f"search {k + 1}")

    @property
    def step(self) -> int:
        """Iterations done."""
        return self.search.step

    @property
    def backward_passes(self) -> int:
        """Backward passes made."""
        return self.search.backward_passes

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        settings, optim = self.settings, self.optim
        names = self.search.weights
        weights = adamw(weight_groups(self.model, optim.lr, optim.weight_decay, names))
        alpha = adamw(
            [
                {
                    "params": list(self.search.alpha.values()),
                    "lr": settings.alpha_lr,
                    "weight_decay": settings.alpha_weight_decay,
                }
            ]
        )
        # The search is shorter than the fit that optim.warmup_steps is meant for.
        warmup = warmup_steps(replace(optim, warmup_steps=None), self.steps)
        return [weights, alpha], [
            get_linear_schedule_with_warmup(weights, warmup, self.steps),
            get_cosine_schedule_with_warmup(alpha, warmup, self.steps),
        ]

    def on_fit_start(self) -> None:
        # from_pretrained returns the model in eval mode, and Lightning leaves it there.
        self.model.train()

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        schedules = self.lr_schedulers()
        rates = [schedule.get_last_lr()[0] for schedule in schedules]
        logged = self.search(batch["inner"], batch["outer"], self.optimizers())
        for schedule in schedules:
            schedule.step()
        self._log(logged | dict(zip(("lr", "alpha_lr"), rates, strict=True)))

    def _log(self, values: dict[str, Tensor | float]) -> None:
        alpha = torch.cat([a.detach().flatten() for a in self.search.alpha.values()])
        at_bounds = ((alpha == 0) | (alpha == 1)).float()
        values |= {
            "k": self.k + 1,
            "zero_directions": self.search.zero_directions,
            "step": self.k * self.steps + self.step,
            "alpha_mean": alpha.mean(),
            "alpha_min": alpha.min(),
            "alpha_max": alpha.max(),
            "alpha_at_bounds": at_bounds.mean(),
        }
        self.log_dict({f"search/{name}": value for name, value in values.items()})
