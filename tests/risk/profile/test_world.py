"""The made-up world against the book's rules, each checked from the outside."""

import numpy as np
import pytest

from warmprompt.errors import BadInputError
from warmprompt.risk.profile import WorldSettings, make_world


def test_amounts_and_rates_follow_the_planted_ones(world):
    payments = world.payments
    genuine = world.scenario_N == 0
    for customer in np.flatnonzero(world.per_day_C > 2)[:10]:
        own = genuine & (payments.entity_N == customer)
        amounts = payments.amount_minor_N[own] / 100
        # Normal around the mean with half its deviation; the negative tail moves the mean by under 2 %.
        error = 4 * (world.mean_amount_C[customer] / 2) / np.sqrt(len(amounts))
        assert (
            abs(amounts.mean() - world.mean_amount_C[customer]) < error + 0.02 * world.mean_amount_C[customer]
        )
        # Noon plus or minus 20,000 s loses 3.1 % of the day's payments outside the day.
        expected = world.per_day_C[customer] * 80 * 0.969
        assert abs((payments.entity_N == customer).sum() - expected) < 4 * np.sqrt(expected)


def test_scenarios_are_what_they_say(world):
    payments = world.payments
    amounts = payments.amount_minor_N / 100
    day = (payments.time_N - payments.time_N[0] // 86_400 * 86_400) // 86_400
    assert (amounts[world.scenario_N == 1] > 220).all()
    assert (amounts[world.scenario_N == 0] <= 220).all()
    assert np.array_equal(world.scenario_N > 0, payments.fraud_N)
    # Scenario 2 covers every payment of a terminal for 28 days, unless scenario 3 came over it.
    second = world.scenario_N == 2
    terminal = payments.counterparty_N[second][0]
    first_day = day[second & (payments.counterparty_N == terminal)].min()
    inside = (payments.counterparty_N == terminal) & (day >= first_day) & (day < first_day + 20)
    assert np.isin(world.scenario_N[inside], (2, 3)).all()
    third = world.scenario_N == 3
    ratio = amounts[third] / world.mean_amount_C[payments.entity_N[third]]
    assert 4 < ratio.mean() < 6.5
    assert third.sum() > 20


def test_equal_seeds_give_equal_worlds(world):
    small = WorldSettings(num_customers=30, num_terminals=60, num_days=20, radius=15.0)
    one, two, other = make_world(small, seed=3), make_world(small, seed=3), make_world(small, seed=4)
    assert np.array_equal(one.payments.amount_minor_N, two.payments.amount_minor_N)
    assert len(one.payments) != len(other.payments)


def test_impossible_worlds_are_refused():
    with pytest.raises(BadInputError, match="num_days"):
        make_world(WorldSettings(num_days=0), seed=0)
    with pytest.raises(BadInputError, match="radius"):
        make_world(WorldSettings(num_customers=2, num_terminals=1, radius=1e-9), seed=0)
