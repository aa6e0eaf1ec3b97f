"""Each expert's scores against a plain calculation in double precision."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of, texts_of

from warmprompt.data.dataset import take_users
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


def test_experts_of_texts_need_texts(world):
    assert TfIdf.fit(world, context_of(world, texts=None)) is None


def test_an_item_added_later_finds_neighbours_and_words_by_its_text(world):
    context, new = context_of(world, similar_item_weight=0.1), world.num_items
    text_1X = np.ones((1, 4), dtype=np.float32)
    words, neighbours, apart = (
        kind.fit(world, given).with_items(["blue thing of make 0"], text_1X)
        for kind, given in ((TfIdf, context), (UserNeighbours, context), (UserNeighbours, context_of(world)))
    )
    users = batch_of(support_of(new))
    assert words.score(users)[0, [0, new]] == pytest.approx(1.0, abs=1e-6)
    assert neighbours.score(users).any()
    assert not apart.score(users).any()


def test_only_training_users_vote(world):
    kept = take_users(world, np.arange(20))
    items = np.flatnonzero(_matrix(world)[30])[:2].astype(np.int32)
    seen_UV = _matrix(kept)
    near = seen_UV[:, items].any(axis=1)
    found_V = UserNeighbours.fit(kept, context_of(kept, num_neighbours=50)).score(
        batch_of(support_of(*items))
    )[0]
    assert set(np.flatnonzero(found_V)) <= set(np.flatnonzero(seen_UV[near].any(axis=0)))
