"""Content neighbours against scikit-learn's cosine similarity and TF-IDF worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.metrics.pairwise import cosine_similarity

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.types import Support

# The tie-break adds at most a millionth of a row's largest score, here below 2.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def data(worlds):
    """Return random histories over 25 items."""
    return worlds.random_dataset(0, num_users=30, num_items=25, lengths=(3, 12))


@pytest.fixture(scope="module")
def vectors():
    """Return 25 random vectors, one of them of zeros."""
    vectors = np.random.default_rng(0).normal(size=(25, 7)).astype(np.float32)
    vectors[11] = 0
    return vectors


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


@pytest.mark.parametrize("sharpness", [1.0, 3.0])
def test_scores_are_mean_cosines_by_brute_force(data, vectors, sharpness):
    ranker = baseline("content-vectors", vectors_VX=vectors, sharpness=sharpness)().fit(data, data, seed=0)
    cosines = np.maximum(0, cosine_similarity(vectors)) ** sharpness
    found = ranker.score([_support([2, 7, 9]), _support([24])])
    assert found[0] == pytest.approx(cosines[[2, 7, 9]].mean(axis=0), abs=TOLERANCE)
    assert found[1] == pytest.approx(cosines[24], abs=TOLERANCE)


def test_popularity_is_added_by_its_weight(data, vectors):
    plain, weighted = (
        baseline("content-vectors", vectors_VX=vectors, popularity=weight)().fit(data, data, seed=0)
        for weight in (0.0, 0.5)
    )
    counts = np.bincount(data.interactions.items, minlength=25)
    gap = weighted.score([_support([3])]) - plain.score([_support([3])])
    assert gap[0] == pytest.approx(0.5 * counts / counts.max(), abs=TOLERANCE)


def test_tfidf_equals_the_weights_written_out(worlds):
    data = worlds.make_dataset([[0, 1], [2]], num_items=3)
    data = replace(data, items=pl.DataFrame({"title": ["red red fox", "red dog", "owl"]}))
    # ln((1 + 3) / (1 + df)) + 1 with (1 + ln tf): the vectors of items 0 and 1 meet in "red" alone.
    idf = {word: np.log(4 / (1 + df)) + 1 for word, df in {"red": 2, "fox": 1, "dog": 1, "owl": 1}.items()}
    zero = np.array([(1 + np.log(2)) * idf["red"], idf["fox"]])
    one = np.array([idf["red"], idf["dog"]])
    cosine = zero[0] * one[0] / np.linalg.norm(zero) / np.linalg.norm(one)
    scores = baseline("content-tfidf", sharpness=1)().fit(data, data, seed=0).score([_support([0])])
    assert scores[0] == pytest.approx([1, cosine, 0], abs=TOLERANCE)


def test_items_without_events_are_ranked_by_their_text(worlds):
    data = worlds.make_dataset([[0, 1], [1, 2]], num_items=5)
    titles = ["space ship", "space war", "love letter", "letter of love", "space love"]
    data = replace(data, items=pl.DataFrame({"title": titles}))
    scores = baseline("content-tfidf")().fit(data, data, seed=0).score([_support([2])])[0]
    assert scores[3] > scores[4] > scores[0]


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, BadInputError),
        ({"vectors_VX": np.ones((3, 2), np.float32)}, MismatchError),
        ({"vectors_VX": np.full((25, 2), np.nan, np.float32)}, BadInputError),
        ({"vectors_VX": np.ones((25, 2), np.float32), "sharpness": 0}, BadInputError),
        ({"vectors_VX": np.ones((25, 2), np.float32), "popularity": -1}, BadInputError),
    ],
)
def test_what_does_not_fit_is_refused(data, settings, error):
    with pytest.raises(error):
        baseline("content-vectors", **settings)().fit(data, data, seed=0)
