"""Planted worlds: the stated shares hold, the oracle is right, and the seed fixes everything."""

import numpy as np
import pytest
from scipy.stats import binomtest

from warmprompt.data.synthetic import TASTES, Knobs, planted_world
from warmprompt.errors import BadInputError

SIZES = {"num_users": 600, "num_items": 80, "num_tastes": 4}


@pytest.fixture(scope="module")
def world():
    return planted_world(**SIZES, seed=3)


def fits(successes, trials, p):
    # The seed is fixed: a correct share fails this once in ten thousand choices of it.
    return binomtest(int(successes), int(trials), p).pvalue > 1e-4


def test_title_and_genre_tell_the_taste(world):
    for item, row in enumerate(world.dataset.items.iter_rows(named=True)):
        genre, words, _ = TASTES[world.item_tastes[item]]
        assert row["genres"] == [genre]
        assert row["title"].split()[0] in words
    assert world.dataset.items["title"].n_unique() == world.dataset.num_items


def test_ratings_are_high_inside_and_low_outside(world):
    events = world.dataset.interactions
    for user in range(world.dataset.num_users):
        each = events.events_of(user)
        inside = world.loved(user)[events.items[each]]
        assert set(events.ratings[each][inside]) <= {4.0, 5.0}
        assert set(events.ratings[each][~inside]) <= {1.0, 2.0}
        assert len(set(events.items[each])) == inside.size
        assert (np.diff(events.times_s[each]) > 0).all()
        assert 12 <= inside.size <= 24


def test_shares_are_as_stated(world):
    events, users = world.dataset.interactions, world.dataset.num_users
    firsts = events.items[events.offsets[:-1]]
    assert fits(sum(world.loved(u)[firsts[u]] for u in range(users)), users, 0.85)
    assert fits(sum(len(tastes) == 2 for tastes in world.user_tastes), users, 0.3)
    spoken = world.dataset.users["occupation"].to_list()
    true_jobs = sum(
        TASTES[tastes[0]][2] == job for tastes, job in zip(world.user_tastes, spoken, strict=True)
    )
    assert fits(true_jobs, users, 0.8)


def test_the_first_event_follows_the_stated_probability(world):
    # Chi-squared over items, pooled over users: expected counts are sums of the users' probabilities.
    events, users = world.dataset.interactions, world.dataset.num_users
    observed = np.bincount(events.items[events.offsets[:-1]], minlength=world.dataset.num_items)
    chances = np.array([world.event_probability(user) for user in range(users)])
    assert chances.sum(axis=1) == pytest.approx(1)
    variance = (chances * (1 - chances)).sum(axis=0)
    z = (observed - chances.sum(axis=0)) / np.sqrt(variance)
    assert np.abs(z).max() < 4.5  # 80 normal draws exceed 4.5 once in two thousand seeds


def test_best_ranking_puts_loved_items_first_then_popular_ones(world):
    user = next(u for u, tastes in enumerate(world.user_tastes) if len(tastes) == 2)
    ranking = world.best_ranking(user)
    expected = sorted(range(80), key=lambda item: (not world.loved(user)[item], -world.weights[item]))
    assert ranking.tolist() == expected
    support = set(expected[:3])
    assert world.best_ranking(user, without=support).tolist() == expected[3:]


def test_the_oracle_beats_popularity_on_held_out_events(world):
    def hits(ranking_of):
        events = world.dataset.interactions
        return np.mean(
            [
                np.isin(ranking_of(user)[:10], events.items[events.events_of(user)]).mean()
                for user in range(world.dataset.num_users)
            ]
        )

    popular = np.argsort(-world.weights)
    assert hits(world.best_ranking) > hits(lambda user: popular) + 0.2


def test_the_seed_fixes_the_world():
    small = {"num_users": 20, "num_items": 40, "num_tastes": 3}
    one, same, other = (planted_world(**small, seed=seed) for seed in (1, 1, 2))
    assert one.dataset.content_hash == same.dataset.content_hash != other.dataset.content_hash
    assert one.user_tastes == same.user_tastes


def test_more_users_leave_the_others_as_they_are():
    few, many = (planted_world(num_users=n, num_items=40, num_tastes=3, seed=1) for n in (5, 9))
    end = few.dataset.interactions.offsets[-1]
    np.testing.assert_array_equal(few.dataset.interactions.items, many.dataset.interactions.items[:end])


def test_knobs_at_their_ends():
    knobs = Knobs(
        share_two_tastes=0, p_inside=1, p_occupation=1, share_without_attributes=0, min_events=3, max_events=5
    )
    world = planted_world(num_users=30, num_items=40, num_tastes=4, seed=0, knobs=knobs)
    assert (world.dataset.interactions.ratings >= 4).all()
    jobs = [TASTES[tastes[0]][2] for tastes in world.user_tastes]
    assert world.dataset.users["occupation"].to_list() == jobs
    silent = planted_world(
        num_users=30,
        num_items=40,
        num_tastes=4,
        seed=0,
        knobs=Knobs(share_without_attributes=1, popularity_skew=0),
    )
    assert silent.dataset.users["occupation"].null_count() == 30
    assert silent.weights == pytest.approx(1 / 40)


def test_a_history_may_exhaust_the_catalogue():
    knobs = Knobs(min_events=20, max_events=20)
    world = planted_world(num_users=5, num_items=20, num_tastes=2, seed=0, knobs=knobs)
    assert np.diff(world.dataset.interactions.offsets).tolist() == [20] * 5


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"num_tastes": 1}, "num_tastes"),
        ({"num_tastes": 9}, "num_tastes"),
        ({"num_users": 0}, "num_users"),
        ({"num_items": 23}, "max_events"),
        ({"knobs": Knobs(p_inside=1.5)}, "p_inside"),
    ],
)
def test_numbers_out_of_range(change, field):
    with pytest.raises(BadInputError, match=field):
        planted_world(**(SIZES | {"seed": 0} | change))
