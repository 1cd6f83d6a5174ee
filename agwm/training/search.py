"""The bilevel search: W on the inner part of the examples, alpha on the outer part."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from agwm.bilevel import ONE_STEP, SearchSettings
from agwm.config import Optim
from agwm.errors import RunError
from agwm.method import Batch
from agwm.models.mixed import alpha_parameters, clamp_alpha
from agwm.numerics import hypergradient
from agwm.numerics.hypergradient import Tensors
from agwm.numerics.optim import adamw, clip, weight_groups
from agwm.numerics.precondition import adam_denominator, tensor_rms
from agwm.numerics.rng import seeded
from agwm.seeding import derive
from agwm.training.finetune import warmup_steps


class BilevelSearchModule(LightningModule):
    """Search number `k`: manual optimization, AdamW on W and AdamW on alpha.

    W is every trainable parameter that is not alpha: task weights, biases, norms, embeddings and
    head. An iteration (paper, algorithm 1 and appendix A) with inner batch B, outer batch V:

        W'    = AdamW step from W on L(W, alpha; B)                                     (5)
        h     = grad_alpha L(W', alpha; V) - eta J v,  v = grad_W L(W', alpha; V)       (6)
        alpha = AdamW step on h, clamped to [0, 1]

    J = d^2 L(W, alpha; B) / d alpha d W. Other orders and scales: `agwm.bilevel`.

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
        self.seed = seed
        self.k = k
        self.step = 0
        self.backward_passes = 0
        self.zero_directions = 0
        self._alpha = alpha_parameters(model)
        self._weights = {
            name: parameter
            for name, parameter in model.named_parameters()
            if name not in self._alpha and parameter.requires_grad
        }

    def configure_optimizers(self) -> tuple[list[Any], list[Any]]:
        settings, optim = self.settings, self.optim
        weights = adamw(weight_groups(self.model, optim.lr, optim.weight_decay, self._weights))
        alpha = adamw(
            [
                {
                    "params": list(self._alpha.values()),
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
        settings = self.settings
        inner, outer = batch["inner"], batch["outer"]
        weights_schedule, alpha_schedule = self.lr_schedulers()
        eta = weights_schedule.get_last_lr()[0]
        alpha_due = (self.step + 1) % settings.alpha_every == 0
        rollback = settings.order == "rollback" and alpha_due
        implicit = settings.hypergradient != "none" and alpha_due
        start = state = None
        if rollback or (implicit and settings.fd_center == "w"):
            start = [weight.detach().clone() for weight in self._weights.values()]
        if rollback:
            state = deepcopy(self._optimizer(0).state_dict())

        inner_loss, at_start = self._step_weights(inner, "inner")
        logged = {"inner_loss": inner_loss, "lr": eta, "alpha_lr": alpha_schedule.get_last_lr()[0]}
        if alpha_due:
            logged |= self._step_alpha(inner, outer, start, at_start, eta)
        if rollback:
            self._assign(start)
            self._optimizer(0).load_state_dict(state)
            self._step_weights(inner, "inner" if settings.shared_masks else "again")
        elif settings.order == "released" and alpha_due:
            if self.step + 1 == settings.alpha_every:
                # The released roll-back restores a state that was empty before the first step.
                self._optimizer(0).state.clear()
            self._step_weights(inner, "again")
        weights_schedule.step()
        alpha_schedule.step()
        self.step += 1
        self._log(logged)

    def _step_weights(self, batch: Batch, mask: str) -> tuple[Tensor, list[Tensor] | None]:
        """AdamW step of W on the inner batch; its loss, and grad_alpha there if it is wanted."""
        weights = list(self._weights.values())
        # A one-sided difference starts from the gradient at W, which comes with this pass.
        keep = self.settings.hypergradient == "one_sided" and self.settings.fd_center == "w"
        alpha = self._alpha_values() if keep else [a.detach() for a in self._alpha_values()]
        loss = self._loss(batch, mask)(weights, alpha)
        self.backward_passes += 1
        inputs = [*weights, *(alpha if keep else ())]
        found = torch.autograd.grad(loss, inputs, allow_unused=True)
        # What the loss does not reach keeps no gradient: AdamW passes it by, decay and all.
        for weight, grad in zip(weights, found[: len(weights)], strict=True):
            weight.grad = grad
        optimizer = self.optimizers()[0]
        self._check("inner loss", loss)
        length = clip(optimizer, self.settings.max_grad_norm)
        self._check("norm of the inner gradient", length)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach(), list(found[len(weights) :]) if keep else None

    def _step_alpha(
        self,
        inner: Batch,
        outer: Batch,
        start: Tensors | None,
        at_start: Tensors | None,
        eta: float,
    ) -> dict[str, Any]:
        """AdamW step of alpha on the hypergradient; what is to be logged of it."""
        settings = self.settings
        weights, alpha = list(self._weights.values()), self._alpha_values()
        if settings.hypergradient == "unrolled":
            loss, direct, implicit = self._unrolled(inner, outer, start, eta)
            self._check("outer loss", loss)
            return self._move_alpha(loss, direct, implicit)
        loss = self._loss(outer, "outer")(weights, alpha)
        self._check("outer loss", loss)
        self.backward_passes += 1
        first_order = settings.hypergradient == "none"
        found = hypergradient.gradients(loss, alpha if first_order else [*alpha, *weights])
        direct, direction = found[: len(alpha)], found[len(alpha) :]
        implicit = [torch.zeros_like(grad) for grad in direct]
        if not first_order:
            direction = self._preconditioned(direction)
            center = start if settings.fd_center == "w" else [w.detach() for w in weights]
            # What goes beyond one step has its own factor.
            one_step = settings.hypergradient in ONE_STEP and settings.fd_scale == "eta"
            scale = eta if one_step else 1.0
            product = self._mixed_product(inner, center, at_start, direction, eta)
            implicit = [-scale * value for value in product]
            if settings.order == "released":
                # Its restore is without effect: W stays where the second evaluation put it.
                eps = hypergradient.step_size(direction, settings.fd_radius)
                self._assign(hypergradient.displaced(weights, direction, -eps))
        return self._move_alpha(loss, direct, implicit)

    def _move_alpha(
        self, loss: Tensor, direct: list[Tensor], implicit: list[Tensor]
    ) -> dict[str, Any]:
        alpha = self._alpha_values()
        self._check("norm of alpha's gradient", hypergradient.norm([*direct, *implicit]))
        for parameter, d, i in zip(alpha, direct, implicit, strict=True):
            parameter.grad = d + i
        optimizer = self.optimizers()[1]
        optimizer.step()
        optimizer.zero_grad()
        clamp_alpha(self.model)
        return {"outer_loss": loss.detach()} | _compare(direct, implicit)

    def _unrolled(
        self, inner: Batch, outer: Batch, start: Tensors, eta: float
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        steps = self.settings.hypergradient_steps
        self.backward_passes += 1 + 3 * steps
        losses = self._loss(inner, "inner"), self._loss(outer, "outer")
        return hypergradient.unrolled(*losses, start, self._alpha_values(), eta, steps)

    def _mixed_product(
        self,
        batch: Batch,
        center: Tensors,
        at_start: Tensors | None,
        direction: Tensors,
        eta: float,
    ) -> list[Tensor]:
        settings = self.settings
        kind, steps = settings.hypergradient, settings.hypergradient_steps
        radius, alpha = settings.fd_radius, self._alpha_values()
        length = hypergradient.norm(direction)
        self._check("norm of the outer gradient", length)
        if length == 0:
            self.zero_directions += 1
            return [torch.zeros_like(a) for a in alpha]
        own = () if settings.shared_masks else ("plus", "minus")
        loss = self._loss(batch, "inner", *own)
        if kind == "one_sided":
            self.backward_passes += 1 + (at_start is None)
            return hypergradient.one_sided(loss, center, alpha, direction, radius, at_start)
        if kind == "finite_difference":
            self.backward_passes += 2
            return hypergradient.finite_difference(loss, center, alpha, direction, radius)
        if kind == "exact":
            self.backward_passes += 2
            return hypergradient.exact(loss, center, alpha, direction)
        at = hypergradient.SecondDerivative(loss, center, alpha)
        if kind == "neumann":
            product = hypergradient.neumann(at, direction, settings.neumann_scale or eta, steps)
        else:
            product = hypergradient.conjugate_gradient(at, direction, steps)
        self.backward_passes += at.backward_passes
        return product

    def _loss(self, batch: Batch, mask: str, *other_masks: str) -> hypergradient.Loss:
        """Loss of (W, alpha) on `batch`, its dropout masks replayed at every call.

        With `other_masks`, the calls use those in turn instead, each drawn on its own.
        """
        names = [*self._weights, *self._alpha]
        turns = iter(other_masks)

        def loss(weights: Tensors, alpha: Tensors) -> Tensor:
            values = dict(zip(names, [*weights, *alpha], strict=True))
            purpose = ("dropout", "search", self.k, self.step, next(turns, mask))
            with seeded(derive(self.seed, *purpose)):
                return functional_call(self.model, values, kwargs=dict(batch)).loss

        return loss

    def _preconditioned(self, direction: list[Tensor]) -> list[Tensor]:
        state = self._optimizer(0).state
        states = [state.get(weight, {}) for weight in self._weights.values()]
        if self.settings.precondition == "tensor_rms":
            return [tensor_rms(v, s) for v, s in zip(direction, states, strict=True)]
        if self.settings.precondition == "adam":
            return [adam_denominator(v, s) for v, s in zip(direction, states, strict=True)]
        return direction

    def _alpha_values(self) -> list[Tensor]:
        return list(self._alpha.values())

    def _optimizer(self, index: int) -> torch.optim.AdamW:
        return self.optimizers()[index].optimizer

    @torch.no_grad()
    def _assign(self, values: Tensors) -> None:
        for weight, value in zip(self._weights.values(), values, strict=True):
            weight.copy_(value)

    def _check(self, what: str, value: Tensor) -> None:
        if not value.isfinite():
            raise RunError(f"search {self.k + 1}, step {self.step}: the {what} is {value.item()}")

    def _log(self, values: dict[str, Any]) -> None:
        alpha = torch.cat([a.detach().flatten() for a in self._alpha_values()])
        at_bounds = ((alpha == 0) | (alpha == 1)).float()
        values |= {
            "k": self.k + 1,
            "zero_directions": self.zero_directions,
            "step": self.k * self.steps + self.step,
            "alpha_mean": alpha.mean(),
            "alpha_min": alpha.min(),
            "alpha_max": alpha.max(),
            "alpha_at_bounds": at_bounds.mean(),
        }
        self.log_dict({f"search/{name}": value for name, value in values.items()})


def _compare(direct: Tensors, implicit: Tensors) -> dict[str, Tensor]:
    """Norms of the two terms of the hypergradient and the cosine between them, 0 if one is 0."""
    direct_norm, implicit_norm = hypergradient.norm(direct), hypergradient.norm(implicit)
    inner = sum((d * i).sum() for d, i in zip(direct, implicit, strict=True))
    cosine = inner / (direct_norm * implicit_norm).clamp_min(1e-30)
    return {"direct_norm": direct_norm, "implicit_norm": implicit_norm, "cosine": cosine}
