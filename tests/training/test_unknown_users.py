"""Users of whom nothing is known: popularity unless something ranks them clearly better."""

from dataclasses import replace

import numpy as np
import pytest
from tests.experts.worlds import batch_of, small_world, support_of

from warmprompt.data.dataset import popularity, take_users
from warmprompt.experts.most_popular import MostPopular
from warmprompt.training.unknown_users import WEIGHTS, weigh_most_popular


@pytest.fixture
def users():
    world = small_world(num_users=160, num_items=120)
    return take_users(world, np.arange(80)), take_users(world, np.arange(80, 160))


def _weight(training, validation, scores_V):
    def score(batch):
        return np.tile(scores_V.astype(np.float32), (len(batch), 1))

    return weigh_most_popular(score, MostPopular.fit(training, None), training, validation, seed=0)


def test_popularity_ranks_unknown_users_where_learned_scores_are_no_better(users):
    training, validation = users
    assert _weight(training, validation, -0.1 * popularity(training)) == WEIGHTS[-1]
    # The same list in other numbers: level is not better.
    assert _weight(training, validation, 0.5 * popularity(training)) == WEIGHTS[-1]


def test_learned_scores_rank_unknown_users_where_they_know_better(users):
    training, validation = users
    wanted_V = popularity(validation)
    # Training users choose what validation users do not.
    order = np.argsort(wanted_V)
    flipped = order[::-1][np.argsort(order)].astype(np.int32)
    events = replace(training.interactions, items=flipped[training.interactions.items])
    misled = replace(training, interactions=events)
    assert _weight(misled, validation, 1.0 * wanted_V) < WEIGHTS[-1]


def test_only_users_of_whom_nothing_is_known_are_scored():
    expert = MostPopular.fit(small_world(), None)
    unknown = replace(support_of(), texts_K=None)
    known = (
        support_of(3),
        replace(unknown, about="likes tea"),
        replace(unknown, attributes={"age": "30"}),
        replace(unknown, ordered=True),
    )
    scores_BV = expert.score(batch_of(unknown, *known))
    np.testing.assert_array_equal(np.argmax(scores_BV[0]), np.argmax(popularity(small_world())))
    np.testing.assert_allclose(scores_BV[0], np.log1p(popularity(small_world())), rtol=1e-6)
    assert not scores_BV[1:].any()
