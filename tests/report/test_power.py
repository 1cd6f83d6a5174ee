import numpy as np
import pytest
from scipy import stats

from agwm.report.statistics import compare, paired_power


def against_zero(differences):
    return compare(dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0))


def test_power_is_that_of_gpower():
    # Two-sided paired t-test, dz = 0.5, 34 pairs.
    assert paired_power(0.5, 34) == pytest.approx(0.8078, abs=5e-5)


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 10), (0.9, 10), (1.3, 5), (0.3, 3)])
def test_power_counts_both_tails_of_the_noncentral_t(effect, seeds):
    critical = stats.t.isf(0.025, seeds - 1)
    noncentral = stats.nct(seeds - 1, effect * seeds**0.5)
    expected = noncentral.sf(critical) + noncentral.cdf(-critical)
    assert paired_power(effect, seeds) == pytest.approx(expected, abs=1e-9)


def test_power_is_how_often_a_simulated_test_rejects():
    samples = np.random.default_rng(0).normal(0.8, 1, size=(40_000, 10))
    rejected = np.mean(stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05)
    assert paired_power(0.8, 10) == pytest.approx(rejected, abs=0.007)  # 3 standard errors


@pytest.mark.parametrize("effect", [0, 1e-200, 1e-12])
def test_power_without_an_effect_is_the_level(effect):
    assert paired_power(effect, 10) == pytest.approx(0.05)


@pytest.mark.parametrize("effect", [5, 50, 1e9, 1e100])
def test_power_of_a_large_effect_is_one(effect):
    assert paired_power(effect, 10) == pytest.approx(1)


def test_a_comparison_has_the_power_at_its_own_effect():
    differences = [2.9, 5.5, 0.9, -0.3, 9.1]
    effect = np.mean(differences) / np.std(differences, ddof=1)
    assert against_zero(differences).power == paired_power(effect, 5)


@pytest.mark.parametrize("scale", [1.0, 0.3, 3.0, 0.06])
def test_seeds_needed_is_the_smallest_number_that_has_the_power(scale):
    differences = np.array([1.0, -1.0, 2.0, -2.0]) + scale
    effect = differences.mean() / differences.std(ddof=1)
    found = against_zero(differences).seeds_needed
    assert paired_power(effect, found) >= 0.8 > paired_power(effect, found - 1)


def test_seeds_needed_may_be_two():
    assert against_zero([10.0, 10.01]).seeds_needed == 2


@pytest.mark.parametrize("shift", [0.0, 0.01])
def test_seeds_needed_is_none_where_there_is_no_effect_or_too_small_a_one(shift):
    differences = np.array([1.0, -1.0, 2.0, -2.0]) + shift
    assert against_zero(differences).seeds_needed is None
