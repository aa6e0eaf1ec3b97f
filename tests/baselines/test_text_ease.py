"""EASE tied to texts, against regressions solved one item at a time."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.baselines.content import tfidf_vectors
from warmprompt.errors import BadInputError
from warmprompt.types import Support


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


def _tied(gram, l2, tie, prior):
    """Solve each column on the other items, drawn towards the prior's column."""
    num_items = len(gram)
    found = np.zeros((num_items, num_items))
    for target in range(num_items):
        others = np.delete(np.arange(num_items), target)
        left = gram[np.ix_(others, others)] + (l2 + tie) * np.eye(num_items - 1)
        found[others, target] = np.linalg.solve(left, gram[others, target] + tie * prior[others, target])
    return found


@pytest.mark.parametrize(("l2", "text_l2", "tie"), [(2.0, 0.5, 30.0), (20.0, 3.0, 1.0)])
def test_each_column_is_a_regression_drawn_towards_the_texts_own(worlds, l2, text_l2, tie):
    data = worlds.random_dataset(0, num_users=40, num_items=18, lengths=(3, 10))
    seen = np.zeros((40, 18))
    for user in range(40):
        seen[user, data.interactions.items[data.interactions.events_of(user)]] = 1
    text = tfidf_vectors(data).toarray().astype(np.float64)
    of_texts = _tied(text @ text.T, text_l2, 0.0, np.zeros((18, 18)))
    expected = _tied(seen.T @ seen, l2, tie, of_texts)
    ranker = baseline("ease-text", l2=l2, text_l2=text_l2, tie=tie)().fit(data, data, seed=0)
    scores = ranker.score([_support([item]) for item in range(18)])
    np.testing.assert_allclose(scores, expected, atol=5e-6)


def test_a_tie_near_zero_is_plain_ease(worlds):
    data = worlds.random_dataset(1, num_items=20, lengths=(3, 10))
    plain = baseline("ease", l2=50.0)().fit(data, data, seed=0)
    tied = baseline("ease-text", l2=50.0, tie=1e-6)().fit(data, data, seed=0)
    histories = [_support([1, 2]), _support([7])]
    np.testing.assert_allclose(tied.score(histories), plain.score(histories), atol=1e-6)


@pytest.mark.parametrize("name", ["l2", "text_l2", "tie"])
def test_penalties_are_above_zero(worlds, name):
    data = worlds.random_dataset(0)
    with pytest.raises(BadInputError, match=name):
        baseline("ease-text", **{name: 0})().fit(data, data, seed=0)
