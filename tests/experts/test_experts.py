"""What is recalled is counted right, of whom it should be, and says nothing where nothing is known."""

from dataclasses import replace

import numpy as np
import pytest
from warmprompt.scoring.memory import KINDS, NOTHING, RecallWeights, recall, recalled, remember, with_words
from warmprompt.scoring.posterior import Believed
from warmprompt.scoring.words import read_words

from warmprompt.data.dataset import take_users
from warmprompt.data.synthetic import planted_world
from warmprompt.types import Support

TEXT_VX = np.eye(6, 4, dtype=np.float32)


@pytest.fixture
def world():
    return planted_world(num_users=40, num_items=30, num_tastes=3, seed=0).dataset


def _support(*items, ratings=None):
    ratings = [np.nan] * len(items) if ratings is None else ratings
    return Support(
        user="u",
        items_K=np.array(items, dtype=np.int32),
        ratings_K=np.array(ratings, dtype=np.float32),
    )


def _believed(dataset):
    rng = np.random.default_rng(1)
    return Believed(
        users_UD=rng.standard_normal((dataset.num_users, 3)).astype(np.float32),
        items_VD=rng.standard_normal((dataset.num_items, 3)).astype(np.float32),
        level_V=rng.standard_normal(dataset.num_items).astype(np.float32),
    )


def _matrix(dataset):
    seen_UV = np.zeros((dataset.num_users, dataset.num_items), dtype=np.float64)
    events = dataset.interactions
    for user in range(dataset.num_users):
        seen_UV[user, events.items[events.events_of(user)]] = 1
    return seen_UV


def test_neighbours_are_those_of_a_plain_calculation(world):
    seen_UV = _matrix(world)
    items = [int(item) for item in np.flatnonzero(seen_UV[0])[:3]]
    share_V = np.maximum(seen_UV.sum(0), 1) / world.num_users
    nearness_U = (seen_UV[:, items] * share_V[items] ** -0.5).sum(1) * seen_UV.sum(1) ** -0.25
    nearest = sorted(range(world.num_users), key=lambda user: (-nearness_U[user], user))[:5]
    nearest = [user for user in nearest if nearness_U[user] > 0]
    expected_V = nearness_U[nearest] @ seen_UV[nearest] / nearness_U[nearest].sum()
    found_V = remember(world, num_neighbours=5).neighbours(np.array(items, dtype=np.int32))
    np.testing.assert_allclose(found_V, expected_V, rtol=1e-5)


def test_together_is_the_cosine_with_shrinkage_and_never_the_item_itself(world):
    seen_UV = _matrix(world)
    counts_V = seen_UV.sum(0)
    cosine_VV = seen_UV.T @ seen_UV / (np.sqrt(np.outer(counts_V, counts_V)) + 10.0)
    np.fill_diagonal(cosine_VV, 0)
    found_V = remember(world, num_neighbours=5).together(np.array([2, 7], dtype=np.int32))
    np.testing.assert_allclose(found_V, (cosine_VV[2] + cosine_VV[7]) / np.sqrt(2), rtol=1e-5, atol=1e-7)


def test_text_is_the_cosine_with_the_mean_of_the_users_items(world):
    text_VX = np.random.default_rng(0).standard_normal((world.num_items, 4)).astype(np.float32)
    text_VX /= np.linalg.norm(text_VX, axis=1, keepdims=True)
    found_BV = recalled(remember(world, num_neighbours=5), "text", [_support(1, 4)], text_VX=text_VX)
    np.testing.assert_allclose(found_BV[0], (text_VX @ text_VX[1] + text_VX @ text_VX[4]) / 2, rtol=1e-5)


def _texts(dataset):
    return [f"{'red' if item % 3 else 'blue'} thing of make {item % 7}" for item in range(dataset.num_items)]


def test_words_are_the_mean_cosine_and_nothing_where_none_are_kept(world):
    text_VX = np.ones((world.num_items, 1), dtype=np.float32)
    memory = remember(world, num_neighbours=5, texts=_texts(world))
    found_BV = recalled(memory, "words", [_support(1, 4)], text_VX=text_VX)
    np.testing.assert_array_equal(found_BV[0], read_words(_texts(world)).nearness(np.array([1, 4])))
    bare = remember(world, num_neighbours=5)
    assert not recalled(bare, "words", [_support(1, 4)], text_VX=text_VX).any()


def test_who_has_an_item_with_alike_words_is_a_neighbour_too(world):
    share = 0.25
    seen_UV, words = _matrix(world), read_words(_texts(world))
    share_V = np.maximum(seen_UV.sum(0), 1) / world.num_users
    wanted_V = np.zeros(world.num_items)
    for item in (1, 4):
        near_V = words.cosines(item).copy()
        near_V[item] = 0
        wanted_V += share * near_V  # all 30 items are among the most alike
        wanted_V[item] += 1
    nearness_U = (seen_UV * wanted_V * share_V**-0.5).sum(1) * seen_UV.sum(1) ** -0.25
    nearest = sorted(range(world.num_users), key=lambda user: (-nearness_U[user], user))[:5]
    expected_V = nearness_U[nearest] @ seen_UV[nearest] / nearness_U[nearest].sum()
    memory = remember(world, num_neighbours=5, texts=_texts(world), alike_share=share)
    np.testing.assert_allclose(memory.neighbours(np.array([1, 4])), expected_V, rtol=1e-4)


def test_an_item_added_later_finds_neighbours_and_words_by_its_text(world):
    memory = remember(world, num_neighbours=5, texts=_texts(world), alike_share=0.1)
    longer = with_words(memory, ["blue thing of make 0"])
    new = world.num_items
    text_VX = np.ones((new + 1, 1), dtype=np.float32)
    found = {kind: recalled(longer, kind, [_support(new)], text_VX=text_VX)[0] for kind in KINDS}
    assert found["words"][new] == pytest.approx(1.0, abs=1e-6)
    assert found["words"][0] == pytest.approx(1.0, abs=1e-6)
    assert found["neighbours"].any()
    assert not found["together"].any()
    assert with_words(remember(world, num_neighbours=5), ["blue"]).words is None


def test_kappa_is_the_number_of_events_at_which_memory_weighs_half(world):
    plain, shrunk = (
        replace(
            remember(world, num_neighbours=5, texts=_texts(world), kappa=kappa), believed=_believed(world)
        )
        for kappa in (0.0, 2.0)
    )
    text_VX = np.ones((world.num_items, 1), dtype=np.float32)
    for items in ((1, 4), (1, 4, 9, 12, 20, 25)):
        for kind in KINDS:
            whole, less = (
                recalled(one, kind, [_support(*items, items[0])], text_VX=text_VX) for one in (plain, shrunk)
            )
            assert whole.any()
            np.testing.assert_allclose(less, whole * len(items) / (len(items) + 2), rtol=1e-6)


def test_all_kinds_are_added_with_their_weights(world):
    memory = remember(world, num_neighbours=5, texts=_texts(world))
    text_VX = np.ones((world.num_items, 1), dtype=np.float32)
    weights = RecallWeights(neighbours=3.0, together=2.0, words=4.0, text=0.5)
    supports = [_support(1, 4), _support(), _support(9)]
    expected_BV = sum(weights.of(kind) * recalled(memory, kind, supports, text_VX=text_VX) for kind in KINDS)
    found_BV = recall(memory, weights, supports, text_VX=text_VX)
    np.testing.assert_allclose(found_BV, expected_BV, rtol=1e-6)
    assert not found_BV[1].any()
    assert not recall(memory, NOTHING, supports, text_VX=text_VX).any()
    assert recall(memory, weights, [], text_VX=text_VX).shape == (0, world.num_items)


def test_order_repeats_and_company_change_no_bit(world):
    memory = remember(world, num_neighbours=5)
    text_VX = np.ones((world.num_items, 1), dtype=np.float32)
    weights = RecallWeights(neighbours=3.0, together=2.0, text=0.5)

    def bits(supports):
        return [row.tobytes() for row in recall(memory, weights, supports, text_VX=text_VX)]

    alone = bits([_support(3, 1, 4)])[0]
    assert bits([_support(1, 4, 3, 1), _support(5)])[0] == alone


def test_disliked_events_recall_nothing(world):
    memory = remember(world, num_neighbours=5)
    text_VX = np.ones((world.num_items, 1), dtype=np.float32)
    weights = RecallWeights(neighbours=1.0, together=1.0, text=1.0)
    mixed = recall(memory, weights, [_support(1, 4, ratings=[5.0, 1.0])], text_VX=text_VX, least_rating=2.0)
    liked = recall(memory, weights, [_support(1, ratings=[5.0])], text_VX=text_VX, least_rating=2.0)
    unrated = recall(memory, weights, [_support(1)], text_VX=text_VX, least_rating=2.0)
    np.testing.assert_array_equal(mixed, liked)
    np.testing.assert_array_equal(unrated, liked)


def test_items_added_later_are_in_no_memory_but_have_a_text(world):
    memory = remember(world, num_neighbours=5)
    longer_VX = np.ones((world.num_items + 2, 1), dtype=np.float32)
    new = world.num_items
    found = {
        kind: recalled(memory, kind, [_support(1, new), _support(new)], text_VX=longer_VX) for kind in KINDS
    }
    assert found["text"][:, new].min() > 0
    for kind in ("neighbours", "together"):
        assert not found[kind][1].any()
        assert not found[kind][:, world.num_items :].any()
        assert found[kind][0].any()


def test_only_training_users_are_remembered(world):
    kept = take_users(world, np.arange(20))
    memory = remember(kept, num_neighbours=50)
    items = np.flatnonzero(_matrix(world)[30])[:2].astype(np.int32)
    seen_UV = _matrix(kept)
    near = seen_UV[:, items].any(axis=1)
    assert set(np.flatnonzero(memory.neighbours(items))) <= set(np.flatnonzero(seen_UV[near].any(axis=0)))
