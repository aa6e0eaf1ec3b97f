"""The Markov chain against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError
from warmprompt.types import Support


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


@pytest.fixture
def data(worlds):
    """Return two users: 0 -> 1 -> 2 -> 1 and 0 -> 2; the step from one user to the next is none."""
    return worlds.make_dataset([[0, 1, 2, 1], [0, 2]], num_items=4)


def test_steps_are_counted_and_smoothed_by_the_written_formula(data):
    ranker = baseline("markov", smoothing=2)().fit(data, data, seed=0)
    share = np.array([2, 2, 2, 0]) / 6
    scores = ranker.score([_support([3, 0]), _support([1]), _support([2]), _support([3])])
    # After 0: once 1, once 2. After 1: once 2. After 2: once 1. After 3: nothing is known.
    assert scores[0] == pytest.approx((np.array([0, 1, 1, 0]) + 2 * share) / (2 + 2), abs=1e-6)
    assert scores[1] == pytest.approx((np.array([0, 0, 1, 0]) + 2 * share) / (1 + 2), abs=1e-6)
    assert scores[2] == pytest.approx((np.array([0, 1, 0, 0]) + 2 * share) / (1 + 2), abs=1e-6)
    assert scores[3] == pytest.approx(share, abs=1e-6)


def test_a_window_counts_farther_steps_by_the_inverse_distance(data):
    ranker = baseline("markov", smoothing=1, window=3)().fit(data, data, seed=0)
    share = np.array([2, 2, 2, 0]) / 6
    # After 0 in the first user: 1 at distance 1, 2 at 2, 1 at 3; in the second: 2 at 1.
    steps = np.array([0, 1 + 1 / 3, 1 / 2 + 1, 0])
    assert ranker.score([_support([0])])[0] == pytest.approx((steps + share) / (steps.sum() + 1), abs=1e-6)


def test_every_row_is_a_distribution(worlds):
    data = worlds.random_dataset(0)
    scores = baseline("markov")().fit(data, data, seed=0).score([_support([item]) for item in range(50)])
    assert scores.sum(axis=1) == pytest.approx(np.ones(50), abs=1e-5)


@pytest.mark.parametrize("wrong", [{"smoothing": 0}, {"window": 0}])
def test_settings_out_of_range_are_refused(data, wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        baseline("markov", **wrong)().fit(data, data, seed=0)
