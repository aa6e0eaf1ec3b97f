"""Experts of order against plain calculations, event by event in double precision."""

import numpy as np
import pytest
from tests.experts.worlds import batch_of, context_of, small_world, support_of

from warmprompt.experts import EXPERTS, Mixture
from warmprompt.experts.ordered_ridge import OrderedRidge
from warmprompt.experts.position import PositionPopularity
from warmprompt.experts.registry import ORDERED
from warmprompt.experts.sequences import FIRST, ahead_weights
from warmprompt.experts.session_neighbours import SessionNeighbours
from warmprompt.experts.transitions import Transitions

ITEMS = (3, 1, 4, 9)
HORIZONS = pytest.mark.parametrize("horizon", [1, 10, 14])


@pytest.fixture
def world():
    return small_world()


def _histories(dataset):
    events = dataset.interactions
    return [events.items[events.events_of(user)].tolist() for user in range(dataset.num_users)]


def _score(kind, world, *items, horizon=10, **settings):
    expert = kind.fit(world, context_of(world, horizon=horizon), **settings)
    return expert.score(batch_of(support_of(*items, ordered=True)))[0]


def _ahead(horizon):
    """Return what an event counts of the one before it, and how many count."""
    return {1: 0.9**10, 10: 0.9, 14: 0.9 ** (10 / 14)}[horizon], max(10, horizon)


def test_events_ahead_count_a_third_at_the_horizon():
    for horizon in (1, 2, 10, 50):
        weights = ahead_weights(horizon)
        assert weights[0] == 1
        assert len(weights) == max(10, horizon)
        np.testing.assert_allclose(weights[1:] / weights[:-1], weights[1])
        assert weights[1] ** horizon == pytest.approx(0.9**10)
    assert ahead_weights(10)[1] == 0.9
    assert len(ahead_weights(2**31 - 1)) == FIRST
    np.testing.assert_array_equal(ahead_weights(1, 0.5), 0.5 ** np.arange(10))


@HORIZONS
def test_popularity_counts_what_came_at_the_users_position(world, horizon):
    ratio, window = _ahead(horizon)
    shares_V = np.bincount(world.interactions.items, minlength=world.num_items) / len(world.interactions)
    counted_V = 30.0 * shares_V
    for items in _histories(world):
        for step in range(window):
            if 4 + step < len(items):
                counted_V[items[4 + step]] += ratio**step
    found_V = _score(PositionPopularity, world, *ITEMS, horizon=horizon, pseudo_events=30.0)
    np.testing.assert_allclose(found_V, 100 * counted_V / counted_V.sum(), rtol=1e-5)


@HORIZONS
def test_transitions_count_what_came_within_ten_events_in_its_direction(world, horizon):
    ratio, window = _ahead(horizon)
    steps_VV = np.zeros((world.num_items, world.num_items))
    for items in _histories(world):
        for place, item in enumerate(items):
            for step, later in enumerate(items[place + 1 : place + 1 + window]):
                steps_VV[item, later] += ratio**step
    shares_VV = 100 * steps_VV / (steps_VV.sum(axis=1, keepdims=True) + 5.0)
    weights_K = 0.5 ** np.array([3, 2, 1, 0])
    expected_V = weights_K @ shares_VV[list(ITEMS)] / weights_K.sum()
    found_V = _score(Transitions, world, *ITEMS, horizon=horizon, shrinkage=5.0, decay=0.5)
    np.testing.assert_allclose(found_V, expected_V, rtol=1e-4)


@HORIZONS
def test_the_ridge_solves_the_regression_of_all_examples(world, horizon):
    ratio, window = _ahead(horizon)
    rows_x, rows_y, positions = [], [], []
    scale = sum(ratio**step for step in range(window))
    for items in _histories(world):
        for position in range(1, len(items)):
            x_V, y_V = np.zeros(world.num_items), np.zeros(world.num_items)
            for age, item in enumerate(reversed(items[:position])):
                x_V[item] += 0.8**age
            for step, item in enumerate(items[position : position + window]):
                y_V[item] += ratio**step / scale
            rows_x.append(x_V)
            rows_y.append(y_V)
            positions.append(position)
    x_EV, y_EV, position_E = np.array(rows_x), np.array(rows_y), np.array(positions)
    for position in set(positions):
        own = position_E == position
        mean_V = y_EV[own].sum(axis=0) / y_EV[own].sum()
        y_EV[own] -= np.outer(y_EV[own].sum(axis=1), mean_V)
    map_VV = np.linalg.solve(x_EV.T @ x_EV + 7.0 * np.eye(world.num_items), x_EV.T @ y_EV)
    expected_V = 100 * 0.8 ** np.array([3, 2, 1, 0]) @ map_VV[list(ITEMS)]
    found_V = _score(OrderedRidge, world, *ITEMS, horizon=horizon, l2=7.0, decay=0.8)
    np.testing.assert_allclose(found_V, expected_V, rtol=1e-3, atol=1e-4)


def test_neighbours_vote_for_what_they_did_around_the_users_position(world):
    histories, decay, position = _histories(world), 0.7, len(ITEMS)
    counts_V = np.bincount(world.interactions.items, minlength=world.num_items)
    nearness_U = np.zeros(len(histories))
    for user, items in enumerate(histories):
        for place, item in enumerate(items[: position + 5]):
            if item in ITEMS:
                age = position - 1 - ITEMS.index(item)
                rarity = (counts_V[item] / len(histories)) ** -0.5
                nearness_U[user] += rarity * decay**age * decay ** max(0, position - 1 - place)
    nearest = sorted(range(len(histories)), key=lambda user: (-nearness_U[user], user))[:3]
    votes_V = np.zeros(world.num_items)
    for user in nearest:
        for item in histories[user][position - 3 : position + 20]:
            votes_V[item] += nearness_U[user]
    found_V = _score(SessionNeighbours, world, *ITEMS, num_neighbours=3, decay=decay)
    np.testing.assert_allclose(found_V, 100 * votes_V / votes_V.sum(), rtol=1e-5)


@pytest.mark.parametrize("name", ORDERED)
def test_events_without_an_order_score_nothing(world, name):
    expert = EXPERTS[name].fit(world, context_of(world))
    assert not expert.score(batch_of(support_of(), support_of(*ITEMS))).any()
    assert expert.score(batch_of(support_of(*ITEMS, ordered=True))).any()


@pytest.mark.parametrize("name", [name for name in ORDERED if name != "position_popularity"])
def test_another_order_scores_otherwise(world, name):
    first, second = (_score(EXPERTS[name], world, *items) for items in (ITEMS, ITEMS[::-1]))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.parametrize("name", ORDERED)
def test_recent_training_events_count_by_half_life(world, name):
    """A half-life far beyond the data changes nothing, a short one does."""
    context = context_of(world)
    users = batch_of(support_of(*ITEMS, ordered=True))
    plain, long, short = (
        EXPERTS[name].fit(world, context_of(world, half_life_s=half_life_s)).score(users)
        for half_life_s in (None, 1e15, 0.2 * np.ptp(world.interactions.times_s))
    )
    assert context.half_life_s is None
    np.testing.assert_allclose(long, plain, rtol=1e-4, atol=1e-5)
    assert np.abs(short - plain).max() > 1e-3


def test_weights_depend_on_the_number_of_events(world):
    expert = PositionPopularity.fit(world, context_of(world))
    mixture = Mixture(experts={expert.name: expert}, ordered={expert.name: (1, 2, 4, 4, 4, 0)})
    supports = [support_of(*range(k), ordered=True) for k in (0, 1, 2, 3, 20, 25)]
    users = batch_of(*supports)
    between = 2 + 2 * np.log(3 / 2) / np.log(4 / 2)
    expected_BV = np.array([[1], [2], [between], [4], [0], [0]]) * expert.score(users)
    np.testing.assert_allclose(mixture.score(users), expected_BV, rtol=1e-5)
    assert not mixture.score(batch_of(support_of(1, 2))).any()
    assert not mixture.score(users, drop=[expert.name]).any()
    assert not mixture.without(expert.name).ordered
    back = Mixture.from_arrays(mixture.arrays(), weights={}, kappa=0.0, ordered=mixture.ordered)
    np.testing.assert_array_equal(back.score(users), mixture.score(users))
    (row,) = mixture.describe(users)
    assert row.weights_by_events == {0: 1, 1: 2, 3: 4, 5: 4, 10: 4, 20: 0}
    assert row.weight == 4
