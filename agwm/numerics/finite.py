"""Which tensor it was, once a number is not finite; looked up only then, so it costs nothing."""

from collections.abc import Iterable

from torch import Tensor


def culprit(named: Iterable[tuple[str, Tensor | None]], kind: str) -> str:
    """Words that name the tensor which made a norm or a loss not finite.

    Args:
        named: tensors in the order of the model; None = there is none of that name.
        kind: what they are: "gradient", "parameter".

    Returns:
        The first that is not finite; where all are, the largest, whose square is too large for a
        norm. "" if there are no tensors.
    """
    largest, length = "", -1.0
    for name, tensor in named:
        if tensor is None or not tensor.numel():
            continue
        if not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            return f"first {kind} not finite: {name}, {bad} of {tensor.numel()} entries"
        if (found := float(tensor.detach().abs().max())) > length:
            largest, length = name, found
    return f"every {kind} is finite, the largest up to {length:.4g} in {largest}" if largest else ""
