"""One iteration of the bilevel search: W on an inner batch, alpha on an outer one. Plain torch."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import Module
from torch.optim import Optimizer

from agwm.bilevel import ONE_STEP, SearchSettings
from agwm.errors import RunError
from agwm.models.mixed import alpha_parameters, clamp_alpha
from agwm.numerics import hypergradient
from agwm.numerics.distributed import average
from agwm.numerics.finite import culprit
from agwm.numerics.hypergradient import Tensors
from agwm.numerics.optim import clip
from agwm.numerics.precondition import adam_denominator, tensor_rms
from agwm.numerics.rng import DrawnOnce, seeded

Batch = Mapping[str, Tensor]  # input_ids, attention_mask, ..., labels


class SearchStep:
    """Steps of AdamW on W and of AdamW on alpha, in turn.

    W is every trainable parameter that is not alpha: task weights, biases, norms, embeddings and
    head. An iteration (paper, algorithm 1 and appendix A) with inner batch B, outer batch V:

        W'    = AdamW step from W on L(W, alpha; B)                                     (5)
        h     = grad_alpha L(W', alpha; V) - eta J v,  v = grad_W L(W', alpha; V)       (6)
        alpha = AdamW step on h, clamped to [0, 1]

    J = d^2 L(W, alpha; B) / d alpha d W. Other orders and scales: `agwm.bilevel`.

    In a process group (`torchrun`, without a wrapper round the model) each process is given its
    share of B and of V, all of one size, and all take the step of the joined batches; see
    `agwm.numerics.distributed`. The losses returned are those of the share.

    Args:
        model: mixed model (`agwm.models.mixed.mix_pretrained`), in training mode when called.
        settings: the switches.
        seed: (number of the step, name of the mask) -> seed of a pass's dropout; processes of a
            group may differ in it.
        name: of the search, for error messages.
    """

    def __init__(
        self,
        model: Module,
        settings: SearchSettings,
        seed: Callable[[int, str], int],
        name: str = "search",
    ) -> None:
        self.model = model
        self.settings = settings
        self.seed = seed
        self.name = name
        self.step = 0
        self.backward_passes = 0
        self.zero_directions = 0
        self._inner_masks: AbstractContextManager = nullcontext()
        self._start: list[Tensor] = []  # W before its step; kept, as new memory is slow to come by
        self.alpha = alpha_parameters(model)
        self.weights = {
            name: parameter
            for name, parameter in model.named_parameters()
            if name not in self.alpha and parameter.requires_grad
        }

    def __call__(
        self, inner: Batch, outer: Batch, optimizers: Sequence[Optimizer]
    ) -> dict[str, Tensor]:
        """One iteration in place, with the optimizers of W and of alpha.

        Returns:
            Losses, and where alpha was stepped the norms of the two terms of the hypergradient
            and the cosine between them.

        Raises:
            RunError: a loss, a gradient or alpha is not finite, in whichever process of a group.
        """
        settings = self.settings
        optimizer = optimizers[0]
        eta = optimizer.param_groups[0]["lr"]
        alpha_due = (self.step + 1) % settings.alpha_every == 0
        rollback = settings.order == "rollback" and alpha_due
        implicit = settings.hypergradient != "none" and alpha_due
        start = state = None
        if rollback or (implicit and settings.fd_center == "w"):
            start = self._copy_weights()
        kept = implicit and settings.shared_masks and _worth_keeping(inner)
        self._inner_masks = DrawnOnce() if kept else nullcontext()
        if rollback:
            state = {weight: deepcopy(own) for weight, own in optimizer.state.items()}

        # A one-sided difference starts from alpha's gradient at W, which this pass can give.
        both = alpha_due and settings.hypergradient == "one_sided" and settings.fd_center == "w"
        inner_loss, at_start = self._step_weights(inner, "inner", optimizer, with_alpha=both)
        logged = {"inner_loss": inner_loss}
        if alpha_due:
            logged |= self._step_alpha(inner, outer, start, at_start, eta, optimizers)
        if rollback:
            _overwrite(self.weights.values(), start)
            optimizer.state.clear()
            optimizer.state.update(state)
            self._step_weights(inner, "inner" if settings.shared_masks else "again", optimizer)
        elif settings.order == "released" and alpha_due:
            if self.step + 1 == settings.alpha_every:
                # The released roll-back restores a state that was empty before the first step.
                optimizer.state.clear()
            self._step_weights(inner, "again", optimizer)
        self._inner_masks = nullcontext()
        self.step += 1
        return logged

    def loss(self, batch: Batch, mask: str, *other_masks: str) -> hypergradient.Loss:
        """Loss of (W, alpha) on `batch`, its dropout masks replayed at every call.

        With `other_masks`, the calls use those in turn instead, each drawn on its own.
        """
        names = [*self.weights, *self.alpha]
        turns = iter(other_masks)
        masks = self._inner_masks if mask == "inner" else nullcontext()

        def loss(weights: Tensors, alpha: Tensors) -> Tensor:
            values = dict(zip(names, [*weights, *alpha], strict=True))
            with seeded(self.seed(self.step, next(turns, mask))), masks:
                return functional_call(self.model, values, kwargs=dict(batch)).loss

        return loss

    def _step_weights(
        self, batch: Batch, mask: str, optimizer: Optimizer, with_alpha: bool = False
    ) -> tuple[Tensor, list[Tensor] | None]:
        """AdamW step of W on the inner batch; its loss, and grad_alpha there if it is wanted."""
        weights = list(self.weights.values())
        alpha = self._factors() if with_alpha else [a.detach() for a in self._factors()]
        loss = self.loss(batch, mask)(weights, alpha)
        self.backward_passes += 1
        inputs = [*weights, *(alpha if with_alpha else ())]
        found = average(torch.autograd.grad(loss, inputs, allow_unused=True))
        # What the loss does not reach keeps no gradient: AdamW passes it by, decay and all.
        for weight, grad in zip(weights, found[: len(weights)], strict=True):
            weight.grad = grad
        self._check("inner loss", *average([loss]))
        length = clip(optimizer, self.settings.max_grad_norm)
        self._check("norm of the inner gradient", length, self.weights, [w.grad for w in weights])
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach(), found[len(weights) :] if with_alpha else None

    def _step_alpha(
        self,
        inner: Batch,
        outer: Batch,
        start: Tensors | None,
        at_start: Tensors | None,
        eta: float,
        optimizers: Sequence[Optimizer],
    ) -> dict[str, Tensor]:
        """AdamW step of alpha on the hypergradient; what is to be logged of it."""
        settings = self.settings
        weights, alpha = list(self.weights.values()), self._factors()
        if settings.hypergradient == "unrolled":
            loss, direct, implicit = self._unrolled(inner, outer, start, eta)
            self._check("outer loss", *average([loss]))
            return self._move_alpha(loss, direct, implicit, optimizers[1])
        loss = self.loss(outer, "outer")(weights, alpha)
        self._check("outer loss", *average([loss]))
        self.backward_passes += 1
        first_order = settings.hypergradient == "none"
        found = hypergradient.gradients(loss, alpha if first_order else [*alpha, *weights])
        direct, direction = found[: len(alpha)], found[len(alpha) :]
        implicit = [torch.zeros_like(grad) for grad in direct]
        if not first_order:
            direction = self._preconditioned(direction, optimizers[0])
            center = start if settings.fd_center == "w" else [w.detach() for w in weights]
            # What goes beyond one step has its own factor.
            one_step = settings.hypergradient in ONE_STEP and settings.fd_scale == "eta"
            scale = eta if one_step else 1.0
            eps = self._step_size(direction)
            product = self._mixed_product(inner, center, at_start, direction, eps, eta)
            implicit = [-scale * value for value in product]
            if settings.order == "released":
                # Its restore is without effect: W stays where the second evaluation put it.
                hypergradient.displaced(weights, direction, -eps, in_place=True)
        return self._move_alpha(loss, direct, implicit, optimizers[1])

    def _move_alpha(
        self, loss: Tensor, direct: list[Tensor], implicit: list[Tensor], optimizer: Optimizer
    ) -> dict[str, Tensor]:
        names = [f"{term}, {name}" for term in ("direct", "implicit") for name in self.alpha]
        both = [*direct, *implicit]
        self._check("norm of alpha's gradient", hypergradient.norm(both), names, both)
        for factor, d, i in zip(self._factors(), direct, implicit, strict=True):
            factor.grad = d + i
        optimizer.step()
        optimizer.zero_grad()
        clamp_alpha(self.model)
        factors = [a.detach() for a in self._factors()]
        self._check("norm of alpha", hypergradient.norm(factors), self.alpha, factors)
        return {"outer_loss": loss.detach()} | _compare(direct, implicit)

    def _unrolled(
        self, inner: Batch, outer: Batch, start: Tensors, eta: float
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        steps = self.settings.hypergradient_steps
        self.backward_passes += 1 + 3 * steps
        losses = self.loss(inner, "inner"), self.loss(outer, "outer")
        return hypergradient.unrolled(*losses, start, self._factors(), eta, steps)

    def _mixed_product(
        self,
        batch: Batch,
        center: Tensors,
        at_start: Tensors | None,
        direction: Tensors,
        eps: float,
        eta: float,
    ) -> list[Tensor]:
        settings, alpha = self.settings, self._factors()
        kind, steps = settings.hypergradient, settings.hypergradient_steps
        if eps == 0:
            return [torch.zeros_like(a) for a in alpha]
        own = () if settings.shared_masks else ("plus", "minus")
        loss = self.loss(batch, "inner", *own)
        # The copy of W that was made before its step is not looked at again, unless to go back.
        lost = settings.fd_center == "w" and settings.order != "rollback"
        if kind == "one_sided":
            self.backward_passes += 1 + (at_start is None)
            return hypergradient.one_sided(loss, center, alpha, direction, eps, at_start, lost)
        if kind == "finite_difference":
            self.backward_passes += 2
            return hypergradient.finite_difference(loss, center, alpha, direction, eps, lost)
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

    def _step_size(self, direction: Tensors) -> float:
        """eps of the difference quotients; 0 where there is no direction."""
        length = hypergradient.norm(direction)
        self._check("norm of the outer gradient", length, self.weights, direction)
        if length == 0:
            self.zero_directions += 1
            return 0.0
        return self.settings.fd_radius / length.item()

    def _preconditioned(self, direction: list[Tensor], optimizer: Optimizer) -> list[Tensor]:
        states = [optimizer.state.get(weight, {}) for weight in self.weights.values()]
        if self.settings.precondition == "tensor_rms":
            return [tensor_rms(v, s) for v, s in zip(direction, states, strict=True)]
        if self.settings.precondition == "adam":
            return [adam_denominator(v, s) for v, s in zip(direction, states, strict=True)]
        return direction

    def _factors(self) -> list[Tensor]:
        return list(self.alpha.values())

    def _copy_weights(self) -> list[Tensor]:
        weights = list(self.weights.values())
        kept = {(copy.dtype, copy.device) for copy in self._start}
        if kept != {(weight.dtype, weight.device) for weight in weights}:
            self._start = [torch.empty_like(weight) for weight in weights]
        _overwrite(self._start, weights)
        return self._start

    def _check(
        self, what: str, value: Tensor, names: Collection[str] = (), parts: Collection[Tensor] = ()
    ) -> None:
        """Raise where `value` is not finite: the loss, or the norm of the named parts."""
        # The same in all processes of a group, so that a bad number stops every one at one place.
        if value.isfinite():
            return
        if names:
            reason = culprit(zip(names, parts, strict=True), "tensor")
        else:
            reason = culprit(self.model.named_parameters(), "parameter")
        raise RunError(f"{self.name}, step {self.step}: the {what} is {value.item()} ({reason})")


def _worth_keeping(batch: Batch) -> bool:
    """Whether it takes longer to draw the masks of `batch` again than to look out for them.

    On a CPU, where a generator draws number by number, from about a thousand tokens on.
    """
    return all(t.is_cpu for t in batch.values()) and max(t.numel() for t in batch.values()) >= 1000


@torch.no_grad()
def _overwrite(tensors: Iterable[Tensor], values: Tensors) -> None:
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)


def _compare(direct: Tensors, implicit: Tensors) -> dict[str, Tensor]:
    """Norms of the two terms of the hypergradient and the cosine between them, 0 if one is 0."""
    direct_norm, implicit_norm = hypergradient.norm(direct), hypergradient.norm(implicit)
    inner = sum((d * i).sum() for d, i in zip(direct, implicit, strict=True))
    cosine = inner / (direct_norm * implicit_norm).clamp_min(1e-30)
    return {"direct_norm": direct_norm, "implicit_norm": implicit_norm, "cosine": cosine}
