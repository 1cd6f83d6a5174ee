"""The outer gradient as Adam would scale it (betas (0.9, 0.999), eps 1e-8)."""

from collections.abc import Mapping
from math import sqrt

from torch import Tensor

BETA2, EPS = 0.999, 1e-8
AdamState = Mapping[str, Tensor]  # of one tensor: "step" and "exp_avg_sq"; empty before any step


def tensor_rms(v: Tensor, state: AdamState) -> Tensor:
    """v over one number: the bias-corrected root mean square of its tensor's gradients.

    As in the library that the released code pins, which decays the second moment once more.
    """
    if not state:  # no step was taken: the loss does not reach this tensor
        return v
    rms = (BETA2 * state["exp_avg_sq"]).mean().sqrt() + EPS
    return v / (rms / sqrt(1 - BETA2 ** float(state["step"])))


def adam_denominator(v: Tensor, state: AdamState) -> Tensor:
    """v / (sqrt(v_hat) + eps), element by element: the slope of Adam's step, momentum ignored."""
    if not state:
        return v
    second_moment = state["exp_avg_sq"] / (1 - BETA2 ** float(state["step"]))
    return v / (second_moment.sqrt() + EPS)
