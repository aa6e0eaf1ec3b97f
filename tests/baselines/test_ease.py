"""EASE against ridge regressions solved one item at a time."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError
from warmprompt.types import Support


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


@pytest.mark.parametrize("l2", [0.5, 20.0])
def test_each_column_is_a_ridge_regression_on_the_other_items(worlds, l2):
    data = worlds.random_dataset(0, num_users=40, num_items=18, lengths=(3, 10))
    seen = np.zeros((40, 18))
    for user in range(40):
        seen[user, data.interactions.items[data.interactions.events_of(user)]] = 1
    ranker = baseline("ease", l2=l2)().fit(data, data, seed=0)
    scores = ranker.score([_support([item]) for item in range(18)])  # row i is the map's row i
    for target in range(18):
        others = np.delete(np.arange(18), target)
        x = seen[:, others]
        weights = np.linalg.solve(x.T @ x + l2 * np.eye(17), x.T @ seen[:, target])
        # float32 scores, plus the tie-break of at most a millionth of a row's largest score
        assert scores[others, target] == pytest.approx(weights, abs=3e-6)
        assert scores[target, target] == pytest.approx(0, abs=3e-6)


def test_a_history_scores_the_sum_of_its_items(worlds):
    data = worlds.random_dataset(1, num_items=20, lengths=(3, 10))
    ranker = baseline("ease")().fit(data, data, seed=0)
    one, two, both = ranker.score([_support([1]), _support([2]), _support([1, 2])])
    assert both == pytest.approx(one + two, abs=3e-6)


def test_a_penalty_of_zero_is_refused(worlds):
    data = worlds.random_dataset(0)
    with pytest.raises(BadInputError, match="l2"):
        baseline("ease", l2=0)().fit(data, data, seed=0)
