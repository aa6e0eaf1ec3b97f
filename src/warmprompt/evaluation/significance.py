"""Intervals and tests that are paired by user: bootstrap, sign-flip permutation, Holm.

The user is the unit: a user tested under several seeds enters once, with the
mean over seeds. U is users, M columns (metrics or differences that share
users), R resamples.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 10_000
# Resample x user cells in memory at once: 2 million int64 indexes are 16 MB.
_CELLS = 2_000_000

Doubles = NDArray[np.float64]
U = TypeVar("U", bound=Hashable)


def average_within_user(per_seed: Sequence[Mapping[U, Doubles]]) -> dict[U, Doubles]:
    """Return each user's mean over the seeds in which it was tested, in order of first appearance."""
    users = dict.fromkeys(user for of_seed in per_seed for user in of_seed)
    return {
        user: np.mean([of_seed[user] for of_seed in per_seed if user in of_seed], axis=0) for user in users
    }


def bootstrap_intervals(
    values_UM: Doubles, rng: np.random.Generator, *, num_resamples: int = NUM_RESAMPLES, level: float = 0.95
) -> tuple[Doubles, Doubles]:
    """Return the percentile interval of each column's mean, two arrays (M,).

    Every column is resampled with the same users, so differences stay paired. Without users the
    interval is NaN.

    Source: Efron & Tibshirani 1993, chapter 13.
    """
    if len(values_UM) == 0:
        empty = np.full(values_UM.shape[1], np.nan)
        return empty, empty
    tail = (1 - level) / 2
    means_RM = bootstrap_means(values_UM, rng, num_resamples=num_resamples)
    low, high = np.quantile(means_RM, [tail, 1 - tail], axis=0)
    return low, high


def bootstrap_means(
    values_UM: Doubles, rng: np.random.Generator, *, num_resamples: int = NUM_RESAMPLES
) -> Doubles:
    """Return each resample's column means, (R, M), all columns with the same users; there must be users.

    For intervals of anything that is made of means, such as a gain in percent.
    """
    num_users = len(values_UM)
    means = []
    for size in _chunks(num_resamples, num_users):
        drawn = rng.integers(num_users, size=(size, num_users))
        drawn += np.arange(size)[:, None] * num_users
        times_RU = np.bincount(drawn.ravel(), minlength=size * num_users).reshape(size, num_users)
        means.append(times_RU @ values_UM / num_users)
    return np.concatenate(means)


def permutation_p_values(
    differences_UM: Doubles, rng: np.random.Generator, *, num_resamples: int = NUM_RESAMPLES
) -> Doubles:
    """Return two-sided p-values that each column's mean difference is 0, (M,).

    Under the null the two models' values are exchangeable within a user, so each user's difference
    may change its sign. The observed signs count as one of the permutations, hence p is at least
    1 / (R + 1). Without users p is 1.

    Source: Good 2005, section 3.2; the added one after Phipson & Smyth 2010.
    """
    num_users = len(differences_UM)
    observed = np.abs(differences_UM.sum(axis=0))
    # Sums in another order differ by rounding; equal ones must count as reached.
    observed = observed - 1e-12 * np.abs(differences_UM).sum(axis=0)
    reached = np.zeros(differences_UM.shape[1])
    for size in _chunks(num_resamples, num_users):
        signs_RU = rng.integers(2, size=(size, num_users), dtype=np.int8) * 2.0 - 1.0
        reached += (np.abs(signs_RU @ differences_UM) >= observed).sum(axis=0)
    return np.asarray((reached + 1) / (num_resamples + 1))


def holm(p_values: Doubles) -> Doubles:
    """Return Holm's adjusted p-values for a family of tests, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, made monotone and cut at 1.

    Source: Holm 1979.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return adjusted


def _chunks(num_resamples: int, num_users: int) -> list[int]:
    size = max(1, _CELLS // max(1, num_users))
    whole, rest = divmod(num_resamples, size)
    return [size] * whole + ([rest] if rest else [])
