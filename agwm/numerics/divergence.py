"""How far two predictions are apart."""

from torch import Tensor


def symmetric_kl(one: Tensor, other: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of each row of two sets of logits (batch, classes); (batch,)."""
    p, q = one.float().log_softmax(-1), other.float().log_softmax(-1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1)
