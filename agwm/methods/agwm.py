"""Attention-guided weight mixup by bilevel optimization (arXiv 2403.12918).

Each weight of a pretrained linear layer is F(a1, a2) * W + F(1 - a1, 1 - a2) * W0 with frozen W0.
K searches, each from the pretrained model with the same head and on its own random split, learn
W on `inner_fraction` of the examples and alpha on the rest (`agwm.training.search`). Their results
are averaged; then W is fine-tuned on all examples with alpha fixed, and the mixture is folded in.
With `num_finetunes` above 1, W is fine-tuned that often from the one mean, each time in another
batch order and with other dropout, and the results are averaged again.

Where we differ from the released code, and where the paper is silent: docs/method.md and
`agwm.bilevel`, whose presets follow the text (`paper`), the code (`released`) or its intention.

Four forward and four backward passes a search step, one of each in fine-tuning. At the paper's
learning rate the implicit term is hundreds to thousands of times smaller than the direct one:
expect `preset=first_order` to give nearly the same at half the passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from agwm.bilevel import PRESETS, SearchSettings
from agwm.config import Optim
from agwm.errors import require
from agwm.method import Method, Phase, Runner
from agwm.mixture import Mixture

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

AVERAGES = ("all", "alpha")


@dataclass(kw_only=True)
class AGWM(Mixture, Method):
    """K bilevel searches, their average, and fine-tuning with alpha fixed."""

    # With nothing searched, alpha = 1: what is left is a fine-tuning of W.
    neutral: ClassVar[dict[str, Any] | None] = {"num_searches": 0, "alpha_init_std": 0.0}

    preset: str
    num_searches: int
    inner_fraction: float
    cross_fit: bool | None
    search_epochs: int
    finetune_epochs: int | None
    finetune_lr: float | None
    num_finetunes: int | None = None  # = 1; configurations of older runs do not have the key
    average: str
    alpha_lr: float
    alpha_every: int
    fd_radius: float
    hypergradient_steps: int
    neumann_scale: float | None
    # None = as the preset has it.
    alpha_weight_decay: float | None
    hypergradient: str | None
    order: str | None
    fd_center: str | None
    fd_scale: str | None
    precondition: str | None
    shared_masks: bool | None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(
            self.preset in PRESETS, "method.preset", self.preset, "one of " + ", ".join(PRESETS)
        )
        for key, value in PRESETS[self.preset].items():
            if getattr(self, key) is None:
                setattr(self, key, value)
        require(self.num_searches >= 0, "method.num_searches", self.num_searches, ">= 0")
        epochs = self.finetune_epochs
        require(epochs is None or epochs >= 1, "method.finetune_epochs", epochs, ">= 1 or null")
        count = self.num_finetunes
        require(count is None or count >= 1, "method.num_finetunes", count, ">= 1 or null")
        lr = self.finetune_lr
        valid = lr is None or 0 <= lr < math.inf
        require(valid, "method.finetune_lr", lr, "a number >= 0 or null")
        require(
            self.average in AVERAGES,
            "method.average",
            self.average,
            "one of " + ", ".join(AVERAGES),
        )
        self.settings()

    def settings(self) -> SearchSettings:
        """The search's part of the keys, checked."""
        return SearchSettings(
            epochs=self.search_epochs,
            **{
                key: getattr(self, key)
                for key in SearchSettings.__dataclass_fields__
                if key not in ("epochs", "max_grad_norm")
            },
        )

    def plan(self) -> list[Phase]:
        settings = self.settings()
        searches = [
            Phase(
                f"search {k + 1}/{self.num_searches}",
                settings.epochs,
                share=settings.inner_fraction,
                passes=settings.passes,
            )
            for k in range(self.num_searches)
        ]
        count = self.num_finetunes or 1
        finetunes = [
            Phase(
                "finetune" if count == 1 else f"finetune {m + 1}/{count}",
                self.finetune_epochs,
                streams=("finetune", m) if m else (),
            )
            for m in range(count)
        ]
        return [*searches, *finetunes]

    def parameter_groups(self, model: Module, optim: Optim) -> list[dict[str, Any]]:
        """Groups of fine-tuning, at its own rate."""
        lr = optim.lr if self.finetune_lr is None else self.finetune_lr
        return super().parameter_groups(model, replace(optim, lr=lr))

    def run(self, runner: Runner) -> Module:
        from agwm.models.mixed import mean_state

        plan = self.plan()
        searches, finetunes = plan[: self.num_searches], plan[self.num_searches :]
        start = mean_state(self._searched(runner, searches), alpha_only=self.average == "alpha")
        mean = mean_state(self._finetuned(runner, finetunes, start))
        model = self.fixed(runner, start, 0)
        model.load_state_dict(mean)
        return model

    def _searched(self, runner: Runner, phases: list[Phase]) -> Iterator[Module]:
        """The models that the searches lead to, one at a time."""
        for k, phase in enumerate(phases):
            model = self.mixed(runner.pretrained(), runner, k)
            runner.search(model, self.settings(), k, phase)
            yield model
            del model

    def _finetuned(
        self, runner: Runner, phases: list[Phase], start: dict[str, Tensor]
    ) -> Iterator[Module]:
        """The models that fine-tuning from `start` leads to, one at a time."""
        for phase in phases:
            model = self.fixed(runner, start, 0)
            runner.finetune(model, self, phase)
            yield model
            del model
