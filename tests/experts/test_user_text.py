"""The text expert against scikit-learn and a planted answer; nothing is added where nothing is written."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import Ridge
from tests.experts.worlds import batch_of, context_of, encode, small_world, support_of

from warmprompt.data.dataset import Dataset
from warmprompt.experts import Mixture, UserBatch
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.user_text import RIDGE, SCALE, UserText


def with_texts(dataset, texts):
    return replace(dataset, interactions=replace(dataset.interactions, texts=texts))


def written(support, *texts):
    return replace(support, texts_K=texts)


def test_scores_are_ridge_regression_of_items_on_texts():
    world = small_world()
    events = world.interactions
    owners = np.repeat(np.arange(world.num_users), np.diff(events.offsets))
    rows, targets = [], []
    for row, text in enumerate(events.texts):
        if text is not None:
            rows.append(encode([text])[0].astype(np.float64))
            own = events.items[events.events_of(owners[row])]
            targets.append([float(item in own) for item in range(world.num_items)])
    centred = np.array(rows) - np.mean(rows, axis=0)
    ridge = RIDGE * (centred**2).sum() / 4
    model = Ridge(alpha=ridge, solver="cholesky").fit(np.array(rows), np.array(targets))
    query = encode(["note 1", "unheard of"]).mean(axis=0)
    over_EV = model.predict(np.array(rows)) - np.mean(targets, axis=0)
    scale = SCALE / np.sqrt((over_EV**2).mean())
    expected = scale * (model.predict(query[None]) - np.mean(targets, axis=0))[0]
    expert = UserText.fit(world, context_of(world))
    # Given in another order than the items': the mean does not mind.
    found = expert.score(batch_of(written(support_of(9, 2), "note 1", "unheard of")))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    assert np.abs(expected).max() > 0.02


@pytest.fixture(scope="module")
def planted():
    """Return users of three tastes: all have item 0 and say there what they like; the rest follows it."""
    rng = np.random.default_rng(0)
    rows = {"user_id": [], "item_id": [], "text": []}
    for user in range(90):
        taste = user % 3
        liked = 1 + taste * 10 + rng.permutation(10)[:6]
        for item in (0, *liked):
            rows["user_id"].append(user)
            rows["item_id"].append(int(item))
            rows["text"].append(f"taste {taste}" if item == 0 else None)
    return Dataset.from_frames(pl.DataFrame(rows))


@pytest.mark.parametrize("taste", [0, 1, 2])
def test_words_find_the_planted_taste_where_events_cannot(planted, taste):
    expert = UserText.fit(planted, context_of(planted))
    scores_V = expert.score(batch_of(written(support_of(0), f"taste {taste}")))[0]
    best = [int(item) for item in np.argsort(-scores_V) if item][:10]
    assert sorted(best) == list(range(1 + taste * 10, 11 + taste * 10))


def test_without_texts_a_mixture_is_the_same_to_the_bit():
    world = small_world()
    experts = {"popularity": Popularity(scores_V=context_of(world).popularity_V)}
    both = experts | {"user_text": UserText.fit(world, context_of(world))}
    users = batch_of(replace(support_of(1, 4), texts_K=None), written(support_of(3, 5), None, None))
    mixture = Mixture(experts=both, weights=dict.fromkeys(both, 3.0))
    alone = Mixture(experts=experts, weights=dict.fromkeys(experts, 3.0))
    assert mixture.score(users).tobytes() == alone.score(users).tobytes()
    unread = UserBatch(supports=[support_of(1, 4)], vectors_BD=users.vectors_BD[:1])
    assert not both["user_text"].score(unread).any()


@pytest.mark.parametrize("texts", [None, pl.Series([None] * 8, dtype=pl.String)])
def test_there_is_no_expert_without_texts_or_encoder(texts):
    world = small_world()
    if texts is not None:
        texts = texts.extend_constant(None, len(world.interactions) - len(texts))
    assert UserText.fit(with_texts(world, texts), context_of(world)) is None
    assert UserText.fit(world, context_of(world, encode=None)) is None


def test_equal_texts_say_nothing():
    world = small_world()
    same = with_texts(world, pl.Series(["good"] * len(world.interactions)))
    assert UserText.fit(same, context_of(same)) is None


def test_texts_of_dislikes_are_passed_over_and_the_last_of_an_item_counts():
    one = written(support_of(7, 2, 7, 5, ratings=[5, 1, 4, np.nan]), "early", "bad", "late", "fine")
    users = batch_of(one, support_of(), least_rating=2.0)
    assert users.written == (("fine", "late"), ())
    assert batch_of(one).written == (("bad", "fine", "late"), ())[:1]
