from itertools import combinations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from agwm.report.agreement import disagreement, fleiss_kappa, jensen_shannon, mean_distance


def test_disagreement_is_the_mean_over_the_pairs():
    # 0-1 differ on 1 of 4 examples, 0-2 on 1, 1-2 on 2.
    predictions = np.array([[0, 1, 1, 0], [0, 1, 1, 2], [1, 1, 1, 0]])
    assert disagreement(predictions) == pytest.approx((1 / 4 + 1 / 4 + 2 / 4) / 3)


def test_mean_distance_is_the_mean_over_the_pairs():
    # 0-1: (1 + 2) / 2, 0-2: (4 + 1) / 2, 1-2: (3 + 3) / 2.
    assert mean_distance(np.array([[0, 5], [1, 3], [4, 6]])) == pytest.approx((1.5 + 2.5 + 3) / 3)


def test_fleiss_kappa_is_that_of_a_worked_example():
    # 14 raters, 10 subjects, 5 categories: kappa 0.210 (Wikipedia, "Fleiss' kappa").
    table = """0 0 0 0 14; 0 2 6 4 2; 0 0 3 5 6; 0 3 9 2 0; 2 2 8 1 1
               7 7 0 0 0; 3 2 6 3 0; 2 5 3 2 2; 6 5 2 1 0; 0 2 2 3 7"""
    rows = [[int(count) for count in row.split()] for row in table.replace("\n", ";").split(";")]
    predictions = np.array([np.repeat(range(5), row) for row in rows]).T
    assert predictions.shape == (14, 10)
    assert fleiss_kappa(predictions) == pytest.approx(0.210, abs=5e-4)


def test_fleiss_kappa_of_two_seeds_by_hand():
    # Agreement on 3 of 4; shares 5/8 and 3/8, so 34/64 by chance: (3/4 - 34/64) / (30/64).
    assert fleiss_kappa(np.array([[0, 0, 0, 1], [0, 0, 1, 1]])) == pytest.approx(14 / 30)


def test_fleiss_kappa_is_one_for_identical_seeds_and_zero_for_independent_ones():
    one = np.random.default_rng(0).integers(0, 2, 5000)
    assert fleiss_kappa(np.stack([one, one, one])) == 1
    independent = np.random.default_rng(1).integers(0, 2, (5, 5000))
    assert fleiss_kappa(independent) == pytest.approx(0, abs=0.02)


def test_fleiss_kappa_of_one_class_is_undefined():
    assert fleiss_kappa(np.ones((3, 4), dtype=int)) is None


def test_jensen_shannon_is_scipys_distance_squared():
    a, b, c = scores = np.random.default_rng(0).dirichlet([1, 1, 1], (3, 20))
    pairs = [(a, b), (a, c), (b, c)]
    expected = np.mean([jensenshannon(p, q, axis=1, base=2) ** 2 for p, q in pairs])
    assert jensen_shannon(scores) == pytest.approx(expected)


def test_jensen_shannon_is_one_bit_for_certain_seeds_that_differ():
    assert jensen_shannon(np.array([[[1, 0], [1, 0]], [[0, 1], [0, 1]]])) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_jensen_shannon_of_equal_seeds_is_zero_and_never_below(seed):
    one = np.random.default_rng(seed).dirichlet([1, 1], 1)
    assert jensen_shannon(np.stack([one, one])) == 0
    assert 0 <= jensen_shannon(np.stack([one, np.nextafter(one, 1)])) < 1e-15


def test_jensen_shannon_takes_single_precision_scores():
    scores = np.random.default_rng(0).dirichlet([1, 1], (2, 50))
    rounded = scores.astype(np.float32) * np.float32(1.0005)
    assert jensen_shannon(rounded) == pytest.approx(jensen_shannon(scores), rel=1e-5)


@pytest.mark.parametrize("row", [[0.5, 0.6], [-0.1, 1.1]])
def test_jensen_shannon_refuses_what_are_no_probabilities(row):
    with pytest.raises(ValueError, match="probabilities"):
        jensen_shannon(np.array([[row], [[0.5, 0.5]]]))


def test_one_seed_has_nobody_to_agree_with():
    one = np.array([[0, 1, 1]])
    assert disagreement(one) is mean_distance(one) is fleiss_kappa(one) is None
    assert jensen_shannon(np.array([[[0.5, 0.5]]])) is None


@pytest.mark.parametrize("measure", [disagreement, mean_distance, fleiss_kappa, jensen_shannon])
@pytest.mark.parametrize("shape", [(3,), (2, 0), (2, 0, 2), (2, 2, 2, 2)])
def test_another_shape_than_the_measures_own_is_refused(measure, shape):
    with pytest.raises(ValueError, match="shape"):
        measure(np.full(shape, 0.5))


@pytest.mark.parametrize("measure", [disagreement, mean_distance, fleiss_kappa, jensen_shannon])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(measure, wrong):
    shape = (2, 2, 2) if measure is jensen_shannon else (2, 2)
    predictions = np.full(shape, 0.5)
    predictions[0, 1] = wrong
    with pytest.raises(ValueError, match="not finite"):
        measure(predictions)


def test_of_many_seeds_agreement_is_still_that_of_the_pairs():
    rng = np.random.default_rng(0)
    codes, numbers = rng.integers(0, 4, (70, 9)), rng.normal(3, 1, (70, 9))
    differ = [np.mean(a != b) for a, b in combinations(codes, 2)]
    assert disagreement(codes) == pytest.approx(np.mean(differ), rel=1e-12)
    apart = [np.mean(abs(a - b)) for a, b in combinations(numbers, 2)]
    assert mean_distance(numbers) == pytest.approx(np.mean(apart), rel=1e-12)
    assert mean_distance(np.full((70, 3), 0.1)) == 0


@pytest.mark.parametrize(("seeds", "tolerance"), [(64, 1e-12), (90, 0.02)])
def test_of_many_seeds_the_divergence_is_that_of_drawn_pairs(seeds, tolerance):
    scores = np.random.default_rng(1).dirichlet(np.ones(3), (seeds, 12))
    pairs = combinations(scores, 2)
    expected = np.mean([jensenshannon(p, q, axis=1, base=2) ** 2 for p, q in pairs])
    assert jensen_shannon(scores) == pytest.approx(expected, rel=tolerance)
    assert jensen_shannon(scores) == jensen_shannon(scores)
