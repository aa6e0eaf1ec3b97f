"""Intervals and p-values against SciPy, exact enumeration and written arithmetic."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from warmprompt.evaluation.significance import (
    average_within_user,
    bootstrap_intervals,
    holm,
    permutation_p_values,
)


def test_the_interval_is_that_of_scipys_percentile_bootstrap():
    values = np.random.default_rng(1).gamma(2.0, size=(80, 1))
    low, high = bootstrap_intervals(values, np.random.default_rng(2))
    theirs = stats.bootstrap(
        (values[:, 0],), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    # Ends of 10,000 resamples scatter by about 0.02 standard errors times a few; 0.1 is far above.
    spread = values.std() / np.sqrt(80)
    assert [low[0], high[0]] == pytest.approx([theirs.low, theirs.high], abs=0.1 * spread)


def test_interval_coverage_is_nominal():
    rng = np.random.default_rng(4)
    samples = rng.normal(size=(50, 400))
    low, high = bootstrap_intervals(samples, rng, num_resamples=1000)
    # 95 % of 400 intervals, a little fewer at 50 users; four binomial standard errors are 0.044.
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.94, abs=0.044)


def test_columns_are_resampled_with_the_same_users():
    values = np.random.default_rng(5).normal(size=(30, 1))
    low, high = bootstrap_intervals(np.hstack([values, values + 1]), np.random.default_rng(6))
    assert low[1] - low[0] == pytest.approx(1)
    assert high[1] - high[0] == pytest.approx(1)


def test_no_users_give_no_interval():
    low, high = bootstrap_intervals(np.zeros((0, 2)), np.random.default_rng(0))
    assert np.isnan(low).all()
    assert np.isnan(high).all()


def test_p_values_agree_with_every_sign_written_out():
    gaps = np.array([0.5, 0.3, -0.1, 0.4, 0.2, 0.0, 0.25, -0.05, 0.1, 0.3])
    sums = [abs(np.dot(signs, gaps)) for signs in product([-1, 1], repeat=len(gaps))]
    exact = np.mean([total >= abs(gaps.sum()) - 1e-12 for total in sums])
    found = permutation_p_values(gaps[:, None], np.random.default_rng(7), num_resamples=40_000)
    # Standard error sqrt(p / 40,000) is below 0.0006 for p near 0.014.
    assert found[0] == pytest.approx(exact, abs=0.003)


def test_p_values_agree_with_scipys_paired_permutation_test():
    rng = np.random.default_rng(8)
    one = rng.normal(size=60)
    other = one + rng.normal(0.15, 0.6, size=60)
    theirs = stats.permutation_test(
        (one, other), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        n_resamples=10_000, vectorized=True, rng=np.random.default_rng(9),
    ).pvalue  # fmt: skip
    found = permutation_p_values((one - other)[:, None], np.random.default_rng(10))
    # Both are estimates from 10,000 draws: four joint standard errors at p = 0.1 are 0.017.
    assert found[0] == pytest.approx(theirs, abs=0.017)


def test_no_difference_is_never_significant():
    assert permutation_p_values(np.zeros((20, 1)), np.random.default_rng(0)).tolist() == [1.0]


def test_a_p_value_is_never_zero():
    assert permutation_p_values(np.ones((200, 1)), np.random.default_rng(0)).tolist() == [1 / 10_001]


def test_holm_as_written_arithmetic():
    # Sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 .04, made monotone .04 .06 .06 .06.
    assert holm(np.array([0.03, 0.01, 0.04, 0.02])) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm(np.array([0.6, 0.7])) == pytest.approx([1.0, 1.0])
    assert holm(np.zeros(0)).tolist() == []


def test_seeds_are_averaged_within_the_user():
    first = {"a": np.array([1.0]), "b": np.array([3.0])}
    second = {"a": np.array([2.0]), "c": np.array([5.0])}
    found = average_within_user([first, second])
    assert {user: float(value[0]) for user, value in found.items()} == {"a": 1.5, "b": 3.0, "c": 5.0}
