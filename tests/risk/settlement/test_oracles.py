"""What must hold by theory or by hand: liquidity bounds, gridlocks, outages, hoarding, replayed money."""

import numpy as np
import pytest
from scipy.sparse import coo_array

from warmprompt.risk.settlement import (
    EVERY,
    DayShape,
    Rules,
    banks_table,
    block,
    cut_exposure,
    inject,
    limit,
    liquidity_bounds,
    outage,
    payment_day,
    payments_table,
    reserve,
    simulate_day,
)


def links(num_banks, seed):
    rng = np.random.default_rng(seed)
    weights = rng.random((num_banks, num_banks)) * (rng.random((num_banks, num_banks)) < 0.4)
    np.fill_diagonal(weights, 0)
    return weights


def table(*rows, num_banks):
    """Return payments from rows (time, sender, receiver, amount)."""
    time_s, sender, receiver, amount = zip(*rows, strict=True)
    return payments_table(
        time_s=time_s, sender=sender, receiver=receiver, amount_minor=amount, num_banks=num_banks
    )


@pytest.fixture(scope="module")
def day():
    return payment_day(links(40, 0), num_payments=4000, seed=7)


def test_at_the_upper_bound_nothing_waits_and_all_of_it_is_used(day):
    _, upper = liquidity_bounds(day)
    found = simulate_day(day, banks_table(opening_minor=upper), check=True)
    assert np.array_equal(found.settle_s, day.time_s)
    assert np.array_equal(found.used_minor, upper)
    assert found.delay_indicator == 0


def test_one_cent_below_the_upper_bound_something_waits(day):
    _, upper = liquidity_bounds(day)
    upper[np.argmax(upper)] -= 1
    found = simulate_day(day, banks_table(opening_minor=upper), check=True)
    assert (found.delay_s > 0).any() or not found.is_settled.all()


def test_the_upper_bound_of_credit_serves_as_well_as_of_money(day):
    _, upper = liquidity_bounds(day)
    found = simulate_day(day, banks_table(opening_minor=np.zeros_like(upper), cap_minor=upper), check=True)
    assert np.array_equal(found.settle_s, day.time_s)
    assert np.array_equal(found.overdraft_minor, upper)


def test_at_the_lower_bound_everything_settles_by_the_last_multilateral_run(day):
    lower, _ = liquidity_bounds(day)
    found = simulate_day(day, banks_table(opening_minor=lower), Rules(offsetting="multilateral"), check=True)
    assert found.is_settled.all()
    paid = np.bincount(day.sender, day.amount_minor, 40) - np.bincount(day.receiver, day.amount_minor, 40)
    assert np.array_equal(found.closing_minor, lower - paid.astype(np.int64))


def test_one_cent_below_the_lower_bound_something_never_settles(day):
    lower, _ = liquidity_bounds(day)
    lower[np.argmax(lower)] -= 1
    found = simulate_day(day, banks_table(opening_minor=lower), Rules(offsetting="both"), check=True)
    assert not found.is_settled.all()


@pytest.mark.parametrize("offsetting", ["none", "both"])
def test_money_replayed_from_the_result_alone_is_conserved_at_every_event(day, offsetting):
    lower, upper = liquidity_bounds(day)
    opening, cap = (lower + upper) // 4, upper // 8
    actions = [inject(time_s=40_000, bank=3, amount_minor=12_345)]
    rules = Rules(offsetting=offsetting)
    banks = banks_table(opening_minor=opening, cap_minor=cap)
    found = simulate_day(day, banks, rules, actions)
    balance = dict(enumerate(opening.tolist()))
    injected = False
    for batch in range(found.batch.max() + 1):
        rows = np.flatnonzero(found.batch == batch)
        assert len(set(found.settle_s[rows])) == 1
        if not injected and found.settle_s[rows[0]] >= 40_000:
            balance[3], injected = balance[3] + 12_345, True
        for row in rows.tolist():
            balance[int(day.sender[row])] -= int(day.amount_minor[row])
            balance[int(day.receiver[row])] += int(day.amount_minor[row])
        assert sum(balance.values()) == int(opening.sum()) + 12_345 * injected
        assert all(balance[bank] >= -cap[bank] for bank in set(day.sender[rows].tolist()))
    assert [balance[bank] for bank in range(40)] == found.closing_minor.tolist()
    assert np.diff(found.settle_s[found.order()]).min() >= 0


def test_a_ring_of_debts_is_stuck_without_offsetting_and_settles_with_it():
    ring = table((0, 0, 1, 5), (1, 1, 2, 5), (2, 2, 0, 5), num_banks=3)
    poor = banks_table(opening_minor=[0, 0, 0])
    for offsetting, settle_s in (
        ("none", [np.nan] * 3),
        ("bilateral", [np.nan] * 3),
        ("multilateral", [10.0] * 3),
    ):
        found = simulate_day(ring, poor, Rules(close_s=30, offsetting=offsetting, offset_every_s=10))
        np.testing.assert_array_equal(found.settle_s, settle_s)


def test_two_banks_that_owe_each_other_settle_the_difference():
    pair = table((0, 0, 1, 9), (1, 1, 0, 7), num_banks=2)
    rules = Rules(close_s=30, offsetting="bilateral", offset_every_s=10)
    found = simulate_day(pair, banks_table(opening_minor=[2, 0]), rules, check=True)
    assert found.settle_s.tolist() == [10, 10]
    assert found.used_minor.tolist() == [2, 0]
    assert not simulate_day(pair, banks_table(opening_minor=[1, 0]), rules).is_settled.any()


def test_a_bank_that_is_down_receives_and_sends_when_it_is_back():
    rows = table((1, 0, 1, 4), (2, 1, 0, 3), (3, 0, 1, 2), num_banks=2)
    found = simulate_day(
        rows,
        banks_table(opening_minor=[9, 9]),
        Rules(close_s=30, sample_s=2),
        outage(bank=0, start_s=1, end_s=11),
    )
    assert found.settle_s.tolist() == [11, 2, 11]
    series = found.series
    # At 10 s two payments of 4 and 2 are held at the bank, and the system sees an empty queue.
    assert (series.num_held_TN[4, 0], series.held_minor_TN[4, 0], series.num_queued_TN[4, 0]) == (2, 6, 0)
    # Within (10, 12] both go out, after 10 and 8 seconds.
    assert (series.num_submitted_TN[5, 0], series.sent_minor_TN[5, 0], series.delay_s_TN[5, 0]) == (2, 6, 18)
    assert (series.num_sent_TN[5, 0], series.num_received_TN[5, 1], series.received_minor_TN[5, 1]) == (
        2,
        2,
        6,
    )
    assert (series.queued_minor_TN[5, 0], series.balance_minor_TN[5, 0]) == (0, 6)


def test_an_outage_drains_the_others_and_a_limit_keeps_them_liquid():
    # Bank 0 is a sink: it takes 10 from bank 1 and returns nothing. Bank 1 then cannot pay bank 2.
    rows = table((1, 0, 1, 10), (2, 1, 0, 10), (3, 1, 2, 10), num_banks=3)
    banks, down = banks_table(opening_minor=[10, 10, 0]), outage(bank=0, start_s=0, end_s=99)
    rules = Rules(close_s=30)
    assert simulate_day(rows, banks, rules, down).is_settled.tolist() == [False, True, False]
    stop = block(time_s=1.5, bank=EVERY, other=0)
    assert simulate_day(rows, banks, rules, (*down, stop)).is_settled.tolist() == [False, False, True]
    late = block(time_s=2.5, bank=EVERY, other=0)
    assert simulate_day(rows, banks, rules, (*down, late)).is_settled.tolist() == [False, True, False]
    helped = inject(time_s=20, bank=1, amount_minor=10)
    assert simulate_day(rows, banks, rules, (*down, helped)).settle_s[2] == 20


def test_a_limit_is_on_the_net_and_a_cut_freezes_it():
    rows = table((1, 0, 1, 4), (2, 0, 1, 4), (3, 1, 0, 3), (4, 0, 1, 1), num_banks=2)
    banks, rules = banks_table(opening_minor=[20, 20]), Rules(close_s=30)
    ceiling = limit(time_s=0, bank=0, other=1, amount_minor=5)
    # 4 out; 8 is over 5; 3 come back, so 4 more makes 5; and 1 more is over it.
    np.testing.assert_array_equal(simulate_day(rows, banks, rules, [ceiling]).settle_s, [1, 3, 3, np.nan])
    cut = cut_exposure(time_s=1.5, bank=0, other=1)
    np.testing.assert_array_equal(simulate_day(rows, banks, rules, [cut]).settle_s, [1, np.nan, 3, 4])


def test_a_reserve_is_kept_until_it_ends():
    rows = table((1, 0, 1, 6), num_banks=2)
    banks = banks_table(opening_minor=[10, 0], reserve_minor=[5, 0])
    ended = reserve(time_s=8, bank=0, amount_minor=4)
    assert simulate_day(rows, banks, Rules(close_s=30), [ended]).settle_s.tolist() == [8]


def test_the_delay_indicator_of_two_payments_by_hand():
    # 5 wait from 10 to 20 of 90 possible seconds, 3 never settle and could wait 70.
    rows = table((10, 0, 1, 5), (30, 2, 1, 3), num_banks=3)
    found = simulate_day(
        rows,
        banks_table(opening_minor=[0, 0, 0]),
        Rules(close_s=100),
        [inject(time_s=20, bank=0, amount_minor=5)],
    )
    assert found.delay_indicator == pytest.approx((5 * 10 + 3 * 70) / (5 * 90 + 3 * 70))
    assert (found.settled_minor, found.unsettled_minor) == (5, 3)


def test_the_generator_draws_what_it_says():
    weights = coo_array(([3.0, 1.0], ([0, 2], [1, 0])), shape=(3, 3))
    shape = DayShape(open_s=100, close_s=300, median_minor=[1000, 9000], sigma=0.5, profile=(1, 3))
    day = payment_day(weights, num_payments=40_000, seed=1, shape=shape)
    first = day.sender == 0
    # Three standard deviations of a share and of a median of that many draws.
    assert first.mean() == pytest.approx(0.75, abs=3 * (0.75 * 0.25 / 40_000) ** 0.5)
    assert (day.time_s >= 200).mean() == pytest.approx(0.75, abs=3 * (0.75 * 0.25 / 40_000) ** 0.5)
    assert np.median(np.log(day.amount_minor[first])) == pytest.approx(np.log(1000), abs=0.02)
    assert np.median(np.log(day.amount_minor[~first])) == pytest.approx(np.log(9000), abs=0.03)
    assert np.log(day.amount_minor[first]).std() == pytest.approx(0.5, abs=0.01)
    assert set(zip(day.sender.tolist(), day.receiver.tolist(), strict=True)) == {(0, 1), (2, 0)}


def test_the_same_seed_gives_the_same_day_and_another_another(day):
    again, other = (payment_day(links(40, 0), num_payments=4000, seed=seed) for seed in (7, 8))
    for name in ("time_s", "sender", "receiver", "amount_minor", "priority"):
        assert np.array_equal(getattr(again, name), getattr(day, name))
        assert not np.array_equal(getattr(other, name), getattr(day, name))
