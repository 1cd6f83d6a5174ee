"""How far the seeds of a cell agree in what they predict.

What is not defined is None, never NaN. Input that is not finite, and an array of another shape or
without an entry, raises ValueError.
"""

from itertools import combinations
from math import comb

import numpy as np
from scipy import special

from agwm.report.statistics import check_finite

MAX_PAIRS = 2_016  # of seeds: all of 64


def disagreement(predictions: np.ndarray) -> float | None:
    """Share of the examples on which two seeds predict different classes, mean over all pairs.

    Args:
        predictions: class codes, (seeds, examples).

    Returns:
        In [0, 1]; None for one seed.
    """
    predictions = _matrix(predictions, 2)
    pairs = comb(len(predictions), 2) * predictions.shape[1]
    counts = (np.sum(predictions == code, axis=0) for code in np.unique(predictions))
    alike = sum(int(np.sum(count * (count - 1) // 2)) for count in counts)
    return (pairs - alike) / pairs if pairs else None


def mean_distance(predictions: np.ndarray) -> float | None:
    """Mean absolute difference between two seeds' predictions, mean over all pairs.

    Args:
        predictions: numbers, (seeds, examples).

    Returns:
        In the predictions' unit; None for one seed.
    """
    ordered = np.sort(_matrix(predictions, 2), axis=0)
    seeds, examples = ordered.shape
    # In order of size each is as often the larger of a pair as others are below it.
    often = 2 * np.arange(seeds) - seeds + 1
    total = float(np.sum(often[:, None] * (ordered - ordered[0])))
    return total / (comb(seeds, 2) * examples) if seeds > 1 else None


def fleiss_kappa(predictions: np.ndarray) -> float | None:
    """Agreement of the seeds beyond chance (Fleiss 1971), with the seeds as raters.

    Args:
        predictions: class codes, (seeds, examples).

    Returns:
        1 for identical seeds, about 0 for independent ones; None for one seed, or where all
        predictions are of one class and chance alone agrees everywhere.
    """
    observed = disagreement(predictions)
    _, counts = np.unique(predictions, return_counts=True)
    if observed is None or len(counts) == 1:
        return None
    # Fleiss' mean agreement per example is that over all pairs of raters.
    by_chance = 1 - np.sum((counts / counts.sum()) ** 2)
    return float(1 - observed / by_chance)


def jensen_shannon(scores: np.ndarray) -> float | None:
    """Jensen-Shannon divergence between two seeds' class probabilities, mean over all pairs.

    Of more than 64 seeds, over 2,016 pairs that are drawn, always the same ones.

    Args:
        scores: probabilities, (seeds, examples, classes).

    Returns:
        In bits, in [0, 1]: the mean over the examples; None for one seed.

    Raises:
        ValueError: no probabilities: negative, or a sum off 1 by more than 0.001.
    """
    scores = _matrix(scores, 3)
    sums = scores.sum(axis=-1, keepdims=True)
    if scores.min() < 0 or np.abs(sums - 1).max() > 1e-3:
        raise ValueError("scores must be probabilities that sum to 1 over the last axis")
    pairs = list(combinations(scores / sums, 2))
    if len(pairs) > MAX_PAIRS:
        drawn = np.random.default_rng(0).choice(len(pairs), MAX_PAIRS, replace=False)
        pairs = [pairs[index] for index in drawn]
    return float(np.mean([_jensen_shannon_of_two(*pair) for pair in pairs])) if pairs else None


def _jensen_shannon_of_two(a: np.ndarray, b: np.ndarray) -> float:
    """Of (examples, classes) each; written with entropies, it may fall below 0 by rounding."""
    mixed, own = special.entr((a + b) / 2), (special.entr(a) + special.entr(b)) / 2
    return max(0.0, np.mean(np.sum(mixed - own, axis=-1)) / np.log(2))


def _matrix(values: np.ndarray, ndim: int) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != ndim or array.size == 0:
        raise ValueError(f"expected a non-empty array of {ndim} axes, got shape {array.shape}")
    return check_finite(array)
