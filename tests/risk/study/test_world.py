"""Balanced flows, days in a row, and time that stands still at night."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from warmprompt.errors import BadInputError
from warmprompt.risk.study.world import (
    BankWorldSettings,
    balanced,
    draw_day,
    draw_days,
    make_bank_world,
    open_seconds,
    wall_seconds,
)


def test_two_banks_balance_at_the_geometric_mean():
    assert balanced(csr_array(np.array([[0, 9.0], [4.0, 0]]))).toarray() == pytest.approx(
        np.array([[0, 6.0], [6.0, 0]])
    )


def test_every_bank_is_expected_to_receive_what_it_pays(world):
    paid, received = np.asarray(world.value_NN.sum(axis=1)), np.asarray(world.value_NN.sum(axis=0))
    assert paid.ravel() == pytest.approx(received.ravel(), rel=1e-6)
    # D A D^-1 leaves the product of the two directions of a pair, and every cycle, as it was.
    again = balanced(world.value_NN)
    assert again.data == pytest.approx(world.value_NN.data, rel=1e-6)


def test_a_network_that_is_not_connected_cannot_be_balanced():
    with pytest.raises(BadInputError, match="strongly connected"):
        balanced(csr_array(np.array([[0, 1.0], [0.0, 0]])))


def test_amounts_and_numbers_follow_the_links(world):
    days = [draw_day(world, seed=seed) for seed in range(30)]
    value = sum(int(day.amount_minor.sum()) for day in days) / 30
    # 30 days of 2,000 heavy-tailed amounts under factors per bank: the mean is known to about 5 %.
    assert value == pytest.approx(world.value_NN.sum(), rel=0.15)
    counts = np.zeros((world.num_banks, world.num_banks))
    for day in days:
        np.add.at(counts, (day.sender, day.receiver), 1)
    assert (counts[world.links_NN.toarray() == 0] == 0).all()
    share = world.links_NN.toarray() / world.links_NN.sum()
    largest = share > 0.01
    assert counts[largest] / counts.sum() == pytest.approx(share[largest], rel=0.35)


def test_the_same_seed_is_the_same_world(settings, world):
    again = make_bank_world(settings, seed=3, num_history=3)
    assert (again.opening_minor == world.opening_minor).all()
    assert (draw_day(again, seed=1).time_s == draw_day(world, seed=1).time_s).all()
    assert (draw_day(again, seed=1).time_s != draw_day(world, seed=2).time_s).any()


def test_days_follow_one_another_after_a_night(world, settings):
    days = draw_days(world, seed=1, num_days=2)
    assert len(days) == 4_000
    second = days.time_s >= settings.period_s
    assert second.sum() == 2_000
    assert days.time_s[~second].max() <= settings.day_s
    assert days.time_s.max() <= settings.period_s + settings.day_s


def test_nights_take_no_time():
    settings = BankWorldSettings(day_s=100.0, night_s=20.0)
    wall = np.array([0.0, 50.0, 100.0, 110.0, 120.0, 130.0])
    assert open_seconds(wall, settings).tolist() == [0, 50, 100, 100, 100, 110]
    assert wall_seconds(np.array([0.0, 50.0, 100.0, 110.0, 200.0]), settings).tolist() == [
        0,
        50,
        100,
        130,
        220,
    ]


@pytest.mark.parametrize(
    "changed", [{"num_banks": 40}, {"payments_per_day": 0}, {"liquidity": 0.0}, {"sigma": float("nan")}]
)
def test_settings_without_a_meaning_are_refused(changed):
    with pytest.raises(BadInputError):
        BankWorldSettings(**changed)
