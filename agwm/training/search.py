"""The bilevel search under Lightning: its optimizers, schedules and log."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn import Module

from agwm.bilevel import SearchSettings
from agwm.config import Optim
from agwm.training.plain import advance, search_masks, search_optimizers
from agwm.training.search_step import Batch, SearchStep

_COUNTS = ("step", "backward_passes", "zero_directions")


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
        self.search = SearchStep(model, settings, search_masks(seed, k), f"search {k + 1}")
        self.passed = 0  # batches still to come that an earlier start has seen

    @property
    def step(self) -> int:
        """Iterations done."""
        return self.search.step

    @property
    def backward_passes(self) -> int:
        """Backward passes made."""
        return self.search.backward_passes

    def kept(self) -> dict[str, Any]:
        """For `restore`, beside the parameters."""
        return {name: getattr(self.search, name) for name in _COUNTS}

    def restore(self, kept: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self.search).update(kept)

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        optim = self.optim
        # By the ratio alone: the search is shorter than the fit that optim.warmup_steps is for.
        return search_optimizers(
            self.search, optim.lr, optim.weight_decay, optim.warmup_ratio, self.steps
        )

    def on_fit_start(self) -> None:
        # from_pretrained returns the model in eval mode, and Lightning leaves it there.
        self.model.train()

    def training_step(self, batch: Mapping[str, Batch], batch_idx: int) -> None:
        if self.passed:
            self.passed -= 1
            return
        schedules = self.lr_schedulers()
        rates = [schedule.get_last_lr()[0] for schedule in schedules]
        logged = self.search(batch["inner"], batch["outer"], self.optimizers())
        advance(schedules)
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
