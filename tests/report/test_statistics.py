import itertools
from math import comb, nan

import numpy as np
import pytest
from scipy import stats

from agwm.report.statistics import compare, holm, iqm, mean_interval, welch_from_summary

OURS = {0: 63.1, 1: 58.4, 2: 66.0, 3: 61.7, 4: 64.9}
BASELINE = {0: 60.2, 1: 52.9, 2: 65.1, 3: 62.0, 4: 55.8}
DIFFERENCES = [2.9, 5.5, 0.9, -0.3, 9.1]


def against_zero(differences):
    return compare(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))


# One sample


def test_iqm_drops_a_quarter_of_each_end():
    assert iqm([7, -50, 1, 3, 5, 100, 2, 4]) == (2 + 3 + 4 + 5) / 4


def test_iqm_of_three_values_is_their_mean():
    assert iqm([1, 2, 9]) == 4


def test_iqm_of_no_values_is_an_error():
    with pytest.raises(ValueError, match="no values"):
        iqm([])


def test_mean_interval_is_scipys_bca():
    result = stats.bootstrap(
        (DIFFERENCES,), np.mean, n_resamples=10_000, rng=np.random.default_rng(0), method="BCa"
    )
    assert mean_interval(DIFFERENCES) == tuple(result.confidence_interval)


def test_mean_interval_is_undefined_below_two_values():
    assert mean_interval([]) is None
    assert mean_interval([5.0]) is None


def test_mean_interval_of_equal_values_is_their_mean():
    assert mean_interval([0.1 + 0.2, 0.3, 0.3]) == pytest.approx((0.3, 0.3), abs=1e-15)
    assert mean_interval([7, 7]) == (7, 7)


def test_mean_interval_falls_back_to_percentiles_where_bca_overflows():
    # The mean of a resample is k * 1e200 with k binomial(3, 1/3): 3 with probability 1/27 > 2.5 %.
    assert mean_interval([0, 0, 3e200]) == pytest.approx((0, 3e200))


def test_mean_interval_covers_the_mean_of_ten_normal_values_nine_times_in_ten():
    samples = np.random.default_rng(1).normal(size=(500, 10))
    covered = [low <= 0 <= high for low, high in map(mean_interval, samples)]
    assert np.mean(covered) == pytest.approx(0.917, abs=0.037)  # 3 standard errors


# Two methods


def test_a_comparison_gives_what_scipy_gives():
    ours, baseline = list(OURS.values()), list(BASELINE.values())
    found = compare(OURS, BASELINE)
    assert found.seeds == 5
    assert found.difference == pytest.approx(3.62)
    assert found.interval == pytest.approx(mean_interval(DIFFERENCES))
    assert found.p_paired == pytest.approx(stats.ttest_rel(ours, baseline).pvalue)
    welch = stats.ttest_ind(ours, baseline, equal_var=False)
    assert found.p_welch == pytest.approx(welch.pvalue)
    spread = stats.levene(ours, baseline, center="median")
    assert found.p_spread == pytest.approx(spread.pvalue)


def test_seeds_are_paired_by_number_and_not_by_order():
    backwards = dict(reversed(BASELINE.items()))
    assert compare(OURS, backwards).p_paired == compare(OURS, BASELINE).p_paired


def test_a_seed_of_one_side_counts_in_the_unpaired_tests_alone():
    more = OURS | {9: 20.0}
    found, paired = compare(more, BASELINE), compare(OURS, BASELINE)
    for name in ("seeds", "difference", "interval", "p_paired", "p_permutation", "power"):
        assert getattr(found, name) == getattr(paired, name), name
    ours, baseline = list(more.values()), list(BASELINE.values())
    assert found.p_welch == pytest.approx(stats.ttest_ind(ours, baseline, equal_var=False).pvalue)
    assert found.p_spread == pytest.approx(stats.levene(ours, baseline, center="median").pvalue)


def test_swapping_the_sides_changes_the_sign_alone():
    forth, back = compare(OURS, BASELINE), compare(BASELINE, OURS)
    assert back.difference == -forth.difference
    for name in ("p_paired", "p_welch", "p_permutation", "p_spread", "power", "seeds_needed"):
        assert getattr(back, name) == pytest.approx(getattr(forth, name)), name


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([1, 2, 3], 1 / 4),  # of 8 sign patterns, +++ and --- are as far out as what was seen
        ([1, 2, -3], 1),  # the mean is 0
        ([1, 3, -1], 3 / 4),  # |sum| >= 3 in 6 of 8: not 1-3+1 and its mirror
        ([2, 2, 2, 2], 1 / 8),
    ],
)
def test_the_sign_flip_test_counts_sign_patterns(differences, p):
    assert against_zero(differences).p_permutation == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("seeds", [5, 10])
def test_the_sign_flip_test_is_exact(seeds):
    differences = np.random.default_rng(seeds).integers(-3, 8, seeds)
    signs = np.array(list(itertools.product([1, -1], repeat=seeds)))
    expected = np.mean(np.abs(signs @ differences) >= abs(differences.sum()))
    found = against_zero(differences)
    assert found.p_permutation == pytest.approx(expected, abs=1e-12)


def test_the_sign_flip_test_of_many_seeds_is_drawn_near_the_exact_value_and_repeatably():
    # 20 differences of size 1, 14 of them positive: 14 or more of one sign in 20 fair coins.
    differences = [1.0] * 14 + [-1.0] * 6
    exact = 2 * sum(comb(20, k) for k in range(14, 21)) / 2**20
    first, second = (against_zero(differences).p_permutation for _ in range(2))
    assert first == pytest.approx(exact, abs=0.015)
    assert first == second != exact


def test_a_drawn_p_value_is_never_zero():
    assert against_zero([1.0] * 40).p_permutation == pytest.approx(2 / 10_001)


def test_identical_runs_differ_by_nothing_and_leave_t_undefined():
    found = compare(OURS, OURS)
    assert (found.difference, found.interval, found.p_permutation) == (0, (0, 0), 1)
    assert found.p_welch == found.p_spread == 1
    assert found.p_paired is found.power is found.seeds_needed is None


def test_a_constant_difference_leaves_t_undefined_and_the_sign_flip_exact():
    shifted = {seed: value - 0.1 for seed, value in OURS.items()}  # equal only up to rounding
    found = compare(OURS, shifted)
    assert found.difference == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.p_permutation == pytest.approx(2 / 2**5)
    assert found.p_paired is found.power is found.seeds_needed is None


def test_two_constant_sides_leave_every_test_but_the_sign_flip_undefined():
    # Summing 7 times 68.4 rounds: the standard deviation comes out as 1.5e-14, not as 0.
    found = compare(dict.fromkeys(range(7), 68.4), dict.fromkeys(range(7), 52.7))
    assert found.difference == pytest.approx(15.7)
    assert found.p_permutation == pytest.approx(1 / 64)
    assert found.p_paired is found.p_welch is found.p_spread is found.power is None


def test_one_constant_side_is_tested():
    constant = dict.fromkeys(OURS, 52.7)  # five degenerate runs
    found = compare(OURS, constant)
    expected = stats.ttest_1samp(list(OURS.values()), 52.7).pvalue
    assert found.p_paired == pytest.approx(expected)
    assert found.p_welch == pytest.approx(expected)  # all variance is ours: 4 degrees of freedom
    assert 0 < found.p_spread < 0.1


def test_the_spread_of_two_seeds_has_no_test():
    # Both distances from a median of two are equal: no variance within, and p = 0 by division.
    assert compare({0: 1.1, 1: 2.3}, {0: 5.1, 1: 9.6}).p_spread is None


@pytest.mark.parametrize(
    ("ours", "baseline", "difference"),
    [
        ({3: 61.0}, {3: 60.0}, 1.0),
        ({0: 61.0, 3: 61.0}, {3: 60.0, 4: 59.0}, 1.0),
        ({0: 61.0}, {1: 60.0}, None),
        ({}, {1: 60.0}, None),
        ({}, {}, None),
    ],
)
def test_below_two_common_seeds_no_paired_quantity_but_the_difference(ours, baseline, difference):
    found = compare(ours, baseline)
    assert found.difference == difference
    assert found.seeds == (difference is not None)
    assert found.interval is found.p_paired is found.p_permutation is None
    assert found.power is found.seeds_needed is None


def test_a_side_of_one_seed_has_no_unpaired_test():
    found = compare({0: 61.0}, BASELINE)
    assert found.p_welch is found.p_spread is None


def test_sides_without_a_common_seed_are_still_tested_unpaired():
    elsewhere = {seed + 10: value for seed, value in BASELINE.items()}
    found, paired = compare(OURS, elsewhere), compare(OURS, BASELINE)
    assert found.seeds == 0
    assert (found.p_welch, found.p_spread) == (paired.p_welch, paired.p_spread)


# Many tests


def test_holm_multiplies_the_smallest_most_and_never_decreases():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_of_nine_in_ten_is_at_most_one():
    assert holm([0.9, 0.6]) == [1, 1]


def test_holm_leaves_none_where_it_is_and_does_not_count_it():
    assert holm([None, 0.02, None, 0.04]) == [None, 0.04, None, 0.04]
    assert holm([None]) == [None]
    assert holm([]) == []


@pytest.mark.parametrize("wrong", [-0.1, 1.1, nan])
def test_holm_refuses_what_is_no_p_value(wrong):
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        holm([0.5, wrong])


def test_welch_from_a_summary_is_welch_on_the_values():
    a, b = [61.0, 58.0, 66.5, 60.0], [50.0, 71.0, 55.0]
    summary = (np.mean(a), np.std(a, ddof=1), 4, np.mean(b), np.std(b, ddof=1), 3)
    expected = stats.ttest_ind(a, b, equal_var=False).pvalue
    assert welch_from_summary(*summary) == pytest.approx(expected)


def test_welch_from_a_summary_is_undefined_without_variance_or_a_second_value():
    assert welch_from_summary(60, 0, 10, 50, 0, 10) is None
    assert welch_from_summary(60, 2, 1, 50, 3, 10) is None
    assert 0 < welch_from_summary(60, 0, 10, 50, 3, 10) < 1e-5


def test_welch_from_a_summary_refuses_a_negative_deviation():
    with pytest.raises(ValueError, match="negative: -2"):
        welch_from_summary(60, 1, 10, 50, -2, 10)


@pytest.mark.parametrize("wrong", [nan, float("inf")])
def test_numbers_that_are_not_finite_are_refused(wrong):
    calls = [
        lambda: iqm([1, wrong]),
        lambda: mean_interval([1, wrong]),
        lambda: compare({0: 1, 1: wrong}, {0: 1, 1: 2}),
        lambda: compare({0: 1, 1: 2}, {0: 1, 5: wrong}),
        lambda: welch_from_summary(wrong, 1, 10, 2, 1, 10),
        lambda: welch_from_summary(1, wrong, 10, 2, 1, 10),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="not finite"):
            call()
