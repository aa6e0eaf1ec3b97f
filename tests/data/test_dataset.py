"""Parts of a data set: of some users, of some events, and how often items were met."""

import numpy as np
import pytest

from warmprompt.data.dataset import keep_events, popularity, take_users
from warmprompt.data.synthetic import planted_world


@pytest.fixture(scope="module")
def dataset():
    return planted_world(num_users=8, num_items=30, num_tastes=3, seed=0).dataset


def history(dataset, user):
    events, rows = dataset.interactions, dataset.interactions.events_of(user)
    return [array[rows].tolist() for array in (events.items, events.ratings, events.times_s)]


@pytest.mark.parametrize("users", [[5, 0, 3], [7], [], [2, 2]])
def test_taken_users_keep_their_histories_in_the_order_given(dataset, users):
    part = take_users(dataset, np.array(users, dtype=np.int64))
    assert part.user_ids == tuple(dataset.user_ids[user] for user in users)
    assert part.interactions.num_users == len(users)
    assert [history(part, index) for index in range(len(users))] == [history(dataset, user) for user in users]
    assert part.users["occupation"].to_list() == [dataset.users["occupation"][user] for user in users]
    assert part.item_ids == dataset.item_ids


def test_kept_events_are_those_marked(dataset):
    keep = np.random.default_rng(0).random(len(dataset.interactions)) < 0.4
    part = keep_events(dataset, keep)
    for user in range(dataset.num_users):
        marked = keep[dataset.interactions.events_of(user)]
        whole = history(dataset, user)
        assert history(part, user) == [
            [v for v, m in zip(values, marked, strict=True) if m] for values in whole
        ]


def test_popularity_counts_events(dataset):
    items = dataset.interactions.items.tolist()
    assert popularity(dataset).tolist() == [items.count(item) for item in range(dataset.num_items)]
