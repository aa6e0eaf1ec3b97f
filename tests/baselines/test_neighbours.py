"""Neighbour methods against scikit-learn's cosine similarity and brute force."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.metrics.pairwise import cosine_similarity

from warmprompt.baselines import baseline
from warmprompt.baselines.neighbours import keep_largest, unit_rows
from warmprompt.errors import BadInputError
from warmprompt.types import Support

# The tie-break adds at most a millionth of a row's largest score, here below 5.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def data(worlds):
    """Return random histories."""
    return worlds.random_dataset(0, num_users=30, num_items=25, lengths=(3, 12))


def _matrix(data):
    seen = np.zeros((data.num_users, data.num_items), dtype=np.float32)
    for user in range(data.num_users):
        seen[user, data.interactions.items[data.interactions.events_of(user)]] = 1
    return seen


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


def _largest(values, num_kept):
    """Return the values with all but the largest set to 0, one row at a time."""
    kept = np.zeros_like(values)
    for row, line in zip(kept, values, strict=True):
        chosen = sorted(range(len(line)), key=lambda column: (-line[column], column))[:num_kept]
        row[chosen] = line[chosen]
    return kept


@pytest.mark.parametrize("num_neighbours", [3, 100])
def test_itemknn_sums_scikit_learns_cosines(data, num_neighbours):
    cosine = cosine_similarity(_matrix(data).T)
    np.fill_diagonal(cosine, 0)
    expected = _largest(cosine.astype(np.float32), num_neighbours)[:, [2, 7]].sum(axis=1)
    ranker = baseline("itemknn", num_neighbours=num_neighbours, shrinkage=0)().fit(data, data, seed=0)
    assert ranker.score([_support([2, 7])])[0] == pytest.approx(expected, abs=TOLERANCE)


def test_itemknn_shrinks_by_the_written_formula(data):
    seen = _matrix(data)
    together, counts = seen.T @ seen, seen.sum(axis=0)
    expected = together[:, 4] / (np.sqrt(counts * counts[4]) + 7.0)
    expected[4] = 0
    ranker = baseline("itemknn", num_neighbours=100, shrinkage=7)().fit(data, data, seed=0)
    assert ranker.score([_support([4])])[0] == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize(("damping", "sharpness"), [(0.0, 1.0), (0.5, 2.0)])
def test_userknn_votes_by_scikit_learns_cosines(data, damping, sharpness):
    seen = _matrix(data)
    weight = np.maximum(seen.sum(axis=0), 1) ** -damping
    new = np.zeros((1, data.num_items))
    new[0, [1, 5, 9]] = 1
    cosine = cosine_similarity(new * weight, seen * weight)
    expected = _largest(cosine, 4) ** sharpness @ seen
    settings = {"num_neighbours": 4, "damping": damping, "sharpness": sharpness}
    ranker = baseline("userknn", **settings)().fit(data, data, seed=0)
    assert ranker.score([_support([1, 5, 9])])[0] == pytest.approx(expected[0], abs=TOLERANCE)


def test_equal_scores_are_ordered_by_popularity(worlds):
    # Item 0 shares users with nobody; items 3 and 2 have 3 and 1 events.
    data = worlds.make_dataset([[0], [1, 3], [3], [3, 2]])
    scores = baseline("itemknn")().fit(data, data, seed=0).score([_support([0])])[0]
    assert scores[3] > scores[2] == scores[1] > 0


def test_keep_largest_equals_a_sort_of_each_row():
    rng = np.random.default_rng(0)
    dense = rng.integers(0, 4, size=(20, 15)).astype(np.float32)
    kept = keep_largest(csr_matrix(dense), 5).toarray()
    assert (kept == _largest(dense, 5)).all()


def test_unit_rows_have_length_one_or_zero():
    rows = unit_rows(csr_matrix(np.array([[3.0, 4.0], [0.0, 0.0]]))).toarray()
    assert rows == pytest.approx(np.array([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("itemknn", {"num_neighbours": 0}), ("itemknn", {"shrinkage": -1}), ("userknn", {"num_neighbours": 0})],
)
def test_settings_out_of_range_are_refused(data, name, wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        baseline(name, **wrong)().fit(data, data, seed=0)
