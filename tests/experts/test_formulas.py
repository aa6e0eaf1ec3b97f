"""Each expert's scores against a plain calculation in double precision."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of, texts_of

from warmprompt.data.dataset import take_users
from warmprompt.experts.cooccurrence import Cooccurrence
from warmprompt.experts.embedding import Embedding
from warmprompt.experts.tfidf import TfIdf
from warmprompt.experts.user_neighbours import UserNeighbours


@pytest.fixture
def world():
    return small_world()


def _matrix(dataset):
    seen_UV = np.zeros((dataset.num_users, dataset.num_items), dtype=np.float64)
    events = dataset.interactions
    for user in range(dataset.num_users):
        seen_UV[user, events.items[events.events_of(user)]] = 1
    return seen_UV


def _votes(seen_UV, wanted_V, *, num_neighbours):
    """Return the votes of the nearest users for wanted items."""
    share_V = np.maximum(seen_UV.sum(0), 1) / len(seen_UV)
    nearness_U = (seen_UV * wanted_V * share_V**-0.5).sum(1) * seen_UV.sum(1) ** -0.25
    nearest = sorted(range(len(seen_UV)), key=lambda user: (-nearness_U[user], user))[:num_neighbours]
    nearest = [user for user in nearest if nearness_U[user] > 0]
    return nearness_U[nearest] @ seen_UV[nearest] / nearness_U[nearest].sum()


def test_neighbours_vote_as_a_plain_calculation(world):
    seen_UV = _matrix(world)
    items = [int(item) for item in np.flatnonzero(seen_UV[0])[:3]]
    wanted_V = np.isin(np.arange(world.num_items), items).astype(float)
    found_BV = UserNeighbours.fit(world, context_of(world)).score(batch_of(support_of(*items)))
    np.testing.assert_allclose(found_BV[0], _votes(seen_UV, wanted_V, num_neighbours=5), rtol=1e-5)


def test_owners_of_items_with_similar_words_are_neighbours_too(world):
    weight, words = 0.25, TfIdf.of_texts(texts_of(world))
    wanted_V = np.zeros(world.num_items)
    for item in (1, 4):
        near_V = words.cosines(item).copy()
        near_V[item] = 0
        wanted_V += weight * near_V  # all 30 items are among the most similar
        wanted_V[item] += 1
    expert = UserNeighbours.fit(world, context_of(world, similar_item_weight=weight))
    expected_V = _votes(_matrix(world), wanted_V, num_neighbours=5)
    np.testing.assert_allclose(expert.score(batch_of(support_of(1, 4)))[0], expected_V, rtol=1e-4)
    assert (
        UserNeighbours.fit(world, context_of(world, similar_item_weight=weight, texts=None)).similar is None
    )


def test_cooccurrence_is_the_cosine_with_shrinkage_without_the_item_itself(world):
    seen_UV = _matrix(world)
    counts_V = seen_UV.sum(0)
    cosine_VV = seen_UV.T @ seen_UV / (np.sqrt(np.outer(counts_V, counts_V)) + 10.0)
    np.fill_diagonal(cosine_VV, 0)
    found_BV = Cooccurrence.fit(world, context_of(world)).score(batch_of(support_of(2, 7)))
    expected_V = (cosine_VV[2] + cosine_VV[7]) / np.sqrt(2)
    np.testing.assert_allclose(found_BV[0], expected_V, rtol=1e-5, atol=1e-7)


def test_embedding_is_the_cosine_with_the_mean_of_the_users_items(world):
    context = context_of(world)
    text_VX = context.text_VX
    found_BV = Embedding.fit(world, context).score(batch_of(support_of(1, 4)))
    expected_V = (text_VX @ text_VX[1] + text_VX @ text_VX[4]) / 2
    np.testing.assert_allclose(found_BV[0], expected_V, rtol=1e-4, atol=1e-6)


def test_experts_of_texts_need_texts(world):
    assert TfIdf.fit(world, context_of(world, texts=None)) is None
    assert Embedding.fit(world, context_of(world, text_VX=np.zeros((30, 1), np.float32))) is None


def test_an_item_added_later_finds_neighbours_and_words_by_its_text(world):
    context, new = context_of(world, similar_item_weight=0.1), world.num_items
    text_1X = np.ones((1, 4), dtype=np.float32)
    words, neighbours, together = (
        kind.fit(world, context).with_items(["blue thing of make 0"], text_1X)
        for kind in (TfIdf, UserNeighbours, Cooccurrence)
    )
    users = batch_of(support_of(new))
    assert words.score(users)[0, [0, new]] == pytest.approx(1.0, abs=1e-6)
    assert neighbours.score(users).any()
    assert not together.score(users).any()


def test_only_training_users_vote(world):
    kept = take_users(world, np.arange(20))
    items = np.flatnonzero(_matrix(world)[30])[:2].astype(np.int32)
    seen_UV = _matrix(kept)
    near = seen_UV[:, items].any(axis=1)
    found_V = UserNeighbours.fit(kept, context_of(kept, num_neighbours=50)).score(
        batch_of(support_of(*items))
    )[0]
    assert set(np.flatnonzero(found_V)) <= set(np.flatnonzero(seen_UV[near].any(axis=0)))
