"""What can be chosen in one iteration of the bilevel search, and the named presets.

The paper's text (appendix A), its released code and what that code's authors configured are three
different algorithms. Each is a preset; each of its switches is a key of `method=agwm`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from agwm.errors import require

ONE_STEP = ("finite_difference", "one_sided", "exact")  # J v of the one-step look-ahead
BEYOND = ("neumann", "conjugate_gradient", "unrolled")  # J u with u nearer to H^-1 v
HYPERGRADIENTS = (*ONE_STEP, *BEYOND, "none")
CHOICES = {
    "hypergradient": HYPERGRADIENTS,
    # w_alpha: step W, then alpha (algorithm 1). rollback: look ahead, step alpha, take the
    # look-ahead back, step W. released: step W, step alpha, step W again on the same batch from
    # where the last perturbed evaluation left it.
    "order": ("w_alpha", "rollback", "released"),
    "fd_center": ("w", "w_prime"),  # where the mixed derivative is taken
    "fd_scale": ("eta", "one"),  # factor of the implicit term; eta = the learning rate of W now
    # v, divided by: nothing; each tensor's root mean square of Adam's second moment; Adam's
    # element-wise denominator.
    "precondition": ("none", "tensor_rms", "adam"),
    "shared_masks": (True, False),  # one dropout mask for all passes over a step's inner batch
}
_PAPER = {
    "hypergradient": "finite_difference",
    "order": "w_alpha",
    "fd_center": "w",
    "fd_scale": "eta",
    "precondition": "none",
    "shared_masks": True,
    "alpha_weight_decay": 0.01,
}
PRESETS: dict[str, dict[str, Any]] = {
    "paper": _PAPER,
    # Released script with the library version it pins, whose restore and roll-back do nothing.
    "released": _PAPER
    | {
        "order": "released",
        "fd_center": "w_prime",
        "fd_scale": "one",
        "precondition": "tensor_rms",
        "shared_masks": False,
        "alpha_weight_decay": 0.0,
    },
    # What the released script asks of that library; the replayed masks are ours.
    "rollback": _PAPER
    | {
        "alpha_weight_decay": 0.0,
        "order": "rollback",
        "fd_center": "w_prime",
        "fd_scale": "one",
        "precondition": "tensor_rms",
    },
    "first_order": _PAPER | {"hypergradient": "none"},
    # Derivative of the AdamW step that is really taken, its momentum ignored.
    "adam_unrolled": _PAPER | {"precondition": "adam"},
}


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """One search: the switches above and the optimizer of alpha."""

    hypergradient: str
    order: str
    fd_center: str
    fd_scale: str
    precondition: str
    shared_masks: bool
    hypergradient_steps: int  # terms of neumann, iterations of CG, steps of unrolled
    neumann_scale: float | None  # None = the learning rate of W now
    fd_radius: float  # length of the displacement of W, L2 over all tensors
    alpha_lr: float
    alpha_weight_decay: float
    alpha_every: int  # alpha is stepped at every T-th iteration
    epochs: int
    inner_fraction: float  # share of the examples that W is trained on; alpha gets the rest
    cross_fit: bool | None = None  # true = no example is in V twice before all have been once
    max_grad_norm: float = 5.0  # of W in the search: released code; the paper is silent

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            value = getattr(self, key)
            require(
                value in choices, f"method.{key}", value, "one of " + ", ".join(map(str, choices))
            )
        positive = 0 < self.fd_radius < math.inf
        require(positive, "method.fd_radius", self.fd_radius, "a number > 0")
        steps, scale = self.hypergradient_steps, self.neumann_scale
        require(steps >= 1, "method.hypergradient_steps", steps, ">= 1")
        valid = scale is None or 0 < scale < math.inf
        require(valid, "method.neumann_scale", scale, "a number > 0 or null")
        if self.hypergradient in BEYOND:
            # They are derivatives of SGD from W; the other orders and scales are not.
            for key in ("order", "fd_center", "precondition"):
                value = getattr(self, key)
                paper = _PAPER[key]
                allowed = f"{paper} with hypergradient={self.hypergradient}"
                require(value == paper, f"method.{key}", value, allowed)
        require(0 <= self.alpha_lr < math.inf, "method.alpha_lr", self.alpha_lr, "a number >= 0")
        decay = self.alpha_weight_decay
        require(0 <= decay < math.inf, "method.alpha_weight_decay", decay, "a number >= 0")
        require(self.alpha_every >= 1, "method.alpha_every", self.alpha_every, ">= 1")
        require(self.epochs >= 1, "method.search_epochs", self.epochs, ">= 1")
        fraction = self.inner_fraction
        require(0 < fraction < 1, "method.inner_fraction", fraction, "inside (0, 1)")

    @property
    def passes(self) -> float:
        """Backward passes of one iteration, averaged over `alpha_every`."""
        steps = self.hypergradient_steps
        implicit = {
            "none": 0,
            "one_sided": 1,
            "finite_difference": 2,
            "exact": 2,
            "neumann": 1 + steps,
            "conjugate_gradient": 2 + steps,
            "unrolled": 3 * steps,
        }
        # The gradient at W comes for free only where W is the centre.
        extra = self.hypergradient == "one_sided" and self.fd_center == "w_prime"
        repeated = self.order != "w_alpha"
        alpha_step = 1 + implicit[self.hypergradient] + extra + repeated
        return 1 + alpha_step / self.alpha_every
