"""Strengths: the log scale, where they go, and that without weights nothing changes."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.data.dataset import keep_events, take_users
from warmprompt.data.episodes import Episode, batch_episodes, batch_supports, join
from warmprompt.data.factors import fit_item_factors
from warmprompt.data.matrices import user_item_matrix
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.strength import LEAST, MOST, strengths, unit_of
from warmprompt.data.synthetic import planted_world
from warmprompt.data.tables import open_dataset, read_data_manifest
from warmprompt.types import Support

SETTINGS = {"num_factors": 4, "regularization": 1.0, "alpha": 5.0, "num_iterations": 3, "seed": 0}


def test_the_median_counts_one_and_the_scale_is_logarithmic():
    weights = np.array([1.0, 7.0, 63.0, np.nan], dtype=np.float32)
    assert unit_of(weights) == 7.0
    # log 2 / log 8, log 8 / log 8, log 64 / log 8, and 1 where nothing is known.
    assert strengths(weights, 7.0) == pytest.approx([1 / 3, 1.0, 2.0, 1.0])


def test_strengths_are_positive_and_bounded():
    found = strengths(np.array([1e-9, 1e30]), 50.0)
    assert found.tolist() == [LEAST, MOST]
    assert unit_of(np.array([np.nan])) == 1.0


@pytest.fixture
def weighted(write, bring_in):
    """Return a data set in which user a has x, y, z with weights 1, 7, 63 and user b has x with 7."""
    path = write("w", {"e.csv": "u,i,n\na,x,1\na,y,7\na,z,63\nb,x,7\n"}) / "e.csv"
    return bring_in(read_mapped(MappedFile(path=path, mapping={"user": "u", "item": "i", "weight": "n"})))


def test_weights_are_kept_with_the_tables_and_read_back(weighted, tmp_path):
    dataset, manifest = weighted
    assert dataset.interactions.weights.tolist() == [1, 7, 63, 7]
    assert dataset.weight_unit == manifest.weight_unit == 7
    (folder,) = tmp_path.glob("tables-*")
    assert read_data_manifest(folder) == manifest
    assert open_dataset(folder).strengths_at(slice(0, 2)) == pytest.approx([1 / 3, 1])


def test_views_take_their_weights_along(weighted):
    dataset, _ = weighted
    assert take_users(dataset, np.array([1, 0])).interactions.weights.tolist() == [7, 1, 7, 63]
    kept = keep_events(dataset, np.array([True, False, True, True]))
    assert kept.interactions.weights.tolist() == [1, 63, 7]


def test_batches_carry_strengths_padded_with_one(weighted):
    dataset, _ = weighted
    episodes = [
        Episode(user=0, support=np.array([2, 0]), query=np.array([1])),
        Episode(user=1, support=np.array([0]), query=np.array([], dtype=np.int64)),
    ]
    batch = batch_episodes(dataset, episodes)
    assert batch.support.strengths_BK == pytest.approx(np.array([[2, 1 / 3], [1, 1]]))
    assert join(batch).strengths_BK == pytest.approx(np.array([[2, 1 / 3, 1], [1, 1, 1]]))


def test_supports_of_both_kinds_share_a_batch():
    one = Support(user="", items_K=np.zeros(2, np.int32), ratings_K=np.zeros(2, np.float32))
    other = replace(one, strengths_K=np.array([2.0, 0.5], np.float32))
    assert batch_supports([one, one]).strengths_BK is None
    assert batch_supports([one, other]).strengths_BK.tolist() == [[1, 1], [2, 0.5]]


def test_factors_take_strengths_as_confidence(weighted):
    dataset, _ = weighted
    found = user_item_matrix(dataset, weighted=True).toarray()
    assert found == pytest.approx(np.array([[1 / 3, 1, 2], [1, 0, 0]]))
    assert user_item_matrix(dataset).toarray().tolist() == [[1, 1, 1], [1, 0, 0]]
    plain = replace(dataset, weight_unit=None)
    assert not np.array_equal(
        fit_item_factors(dataset, **{**SETTINGS, "num_factors": 2}),
        fit_item_factors(plain, **{**SETTINGS, "num_factors": 2}),
    )


def test_equal_weights_are_no_weights():
    # A strength of 1 everywhere is what no strength is, to the bit.
    plain = planted_world(num_users=30, num_items=30, num_tastes=3, seed=0).dataset
    ones = replace(plain.interactions, weights=np.full(len(plain.interactions), 3.0, np.float32))
    same = replace(plain, interactions=ones, weight_unit=3.0)
    assert np.array_equal(fit_item_factors(plain, **SETTINGS), fit_item_factors(same, **SETTINGS))


def test_unweighted_tables_have_the_hash_they_had(write, bring_in):
    path = write("h", {"e.csv": "u,i,r,t\na,x,5,1600000000\nb,x,1,1600000001\nb,y,3,1600000002\n"}) / "e.csv"
    mapping = {"user": "u", "item": "i", "rating": "r", "time": "t"}
    dataset, _ = bring_in(read_mapped(MappedFile(path=path, mapping=mapping)))
    # Written by version 0.1 (commit 4fad69f) from the same file.
    assert dataset.content_hash == "54866243ba49811852f153767b2931bb1056969fac3986d801db06aee87697a4"
