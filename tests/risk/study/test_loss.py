"""Losses and measures on days small enough to work out by hand."""

import numpy as np
import pytest

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import Rules, banks_table, outage, payments_table, simulate_day
from warmprompt.risk.study.incident import IncidentSettings, draw_incident, take_payments
from warmprompt.risk.study.loss import FailureSettings, failure_loss, settlement_loss, still_owed
from warmprompt.risk.study.response import Alarm, ResponseSettings, alarm_actions, stuck_with

HOUR = 3_600.0
RULES = Rules(close_s=10 * HOUR, bypass=True, sample_s=None)


def day(*rows, num_banks=3):
    """Rows of (hour, sender, receiver, amount)."""
    hour, sender, receiver, amount = zip(*rows, strict=True)
    return payments_table(
        time_s=np.array(hour) * HOUR,
        sender=sender,
        receiver=receiver,
        amount_minor=amount,
        num_banks=num_banks,
    )


def none_of(payments):
    return take_payments(payments, np.zeros(len(payments), dtype=bool))


def test_parts_of_the_loss():
    # Bank 1 owes 100 at hour 1 and has nothing until hour 7, when bank 0 pays it: six hours late. Bank 2
    # never has the 500 that it owes bank 0.
    payments = day((1, 1, 2, 100), (7, 0, 1, 300), (8, 2, 0, 500))
    result = simulate_day(payments, banks_table(opening_minor=[300, 0, 0]), RULES)
    loss = settlement_loss(result, none_of(payments), bank=0)
    # Due 900. Between others: 100 * 6 / 24 = 25. To bank 0: 500 never.
    assert loss.others == pytest.approx(100 * 25 / 900)
    assert loss.to_bank == pytest.approx(100 * 500 / 900)
    assert loss.by_bank == 0
    assert loss.unsettled == pytest.approx(100 * 500 / 900)
    assert loss.total == pytest.approx(loss.others + loss.to_bank)
    assert loss.spillover == loss.others
    assert loss.less(loss).total == 0


def test_withheld_payments_never_settle():
    payments, withheld = day((1, 1, 2, 100)), day((2, 0, 1, 300))
    result = simulate_day(payments, banks_table(opening_minor=[0, 100, 0]), RULES)
    loss = settlement_loss(result, withheld, bank=0)
    assert (loss.by_bank, loss.others) == (75.0, 0.0)


def test_what_is_owed_is_netted_between_each_two():
    payments, withheld = day((1, 1, 2, 100), (2, 2, 1, 30)), day((3, 0, 1, 7))
    result = simulate_day(payments, banks_table(opening_minor=[0, 0, 0]), RULES)
    assert still_owed(result, withheld).toarray().tolist() == [[0, 7, 0], [0, 0, 70], [0, 0, 0]]


def test_a_failure_by_hand():
    # Bank 0 owes bank 1 100 and 50 outside, has 60 and realises half: 30, of which bank 1 gets 2/3 = 20.
    # Bank 1 misses 80. It owes bank 2 90, has a buffer of 0 and so 20, realises 10: bank 2 misses 80.
    payments = day((1, 1, 2, 90))
    withheld = day((2, 0, 1, 100))
    result = simulate_day(payments, banks_table(opening_minor=[60, 0, 0]), RULES)
    settings = FailureSettings(recovery=0.5, hole=0.5, buffer=0.0)
    missing, rank, defaults = failure_loss(result, withheld, np.array([100.0, 0, 0]), settings, bank=0)
    assert missing == pytest.approx(80 + 80)
    assert defaults == 1
    assert 0 < rank <= 1


def test_a_buffer_that_is_large_enough_stops_the_failure():
    payments, withheld = day((1, 1, 2, 90)), day((2, 0, 1, 100))
    result = simulate_day(payments, banks_table(opening_minor=[60, 0, 0]), RULES)
    settings = FailureSettings(recovery=0.5, hole=0.5, buffer=0.7)
    missing, _, defaults = failure_loss(result, withheld, np.array([100.0, 100.0, 0]), settings, bank=0)
    assert (missing, defaults) == (pytest.approx(80), 0)  # bank 1 has 70 + 20 and owes 90


def alarm(at, until=9.0):
    return Alarm(bank=0, onset_s=1 * HOUR, at_s=at * HOUR, until_s=until * HOUR)


# Bank 0 is down from hour 1 to 9 and holds what it owes bank 1 at hour 2, so that bank 1, having paid
# bank 0 its 100, cannot pay bank 2 at hour 3.
PAYMENTS = day((1.5, 1, 0, 100), (2, 0, 1, 100), (3, 1, 2, 100), (4, 2, 0, 10))
DOWN = outage(bank=0, start_s=1 * HOUR, end_s=9 * HOUR)
BANKS = banks_table(opening_minor=[50, 100, 100])


def outcome(measure, at):
    before = simulate_day(PAYMENTS, BANKS, RULES, DOWN)
    settings = ResponseSettings(measure=measure, hoarded_share=0.0, refresh_s=900)
    response = alarm_actions(settings, alarm(at), before, BANKS.opening_minor)
    return simulate_day(PAYMENTS, BANKS, RULES, [*DOWN, *response])


def test_without_action_the_outage_spreads():
    result = simulate_day(PAYMENTS, BANKS, RULES, DOWN)
    assert (result.settle_s / HOUR).tolist() == [1.5, 9.0, 9.0, 4.0]
    assert stuck_with(result, alarm(1), until_s=2 * HOUR).tolist() == [0, 100, 0]


def test_stopping_in_time_keeps_the_money_where_it_is_needed():
    # Bank 2 is paid on time. The price: at hour 9 banks 0 and 1 owe each other 100 and have 50 and 0.
    early = [np.nan, np.nan, 3.0, 9.0]
    assert (outcome("stop", 1.2).settle_s / HOUR).tolist() == pytest.approx(early, nan_ok=True)
    assert (outcome("cut", 1.2).settle_s / HOUR).tolist() == pytest.approx(early, nan_ok=True)
    assert (outcome("stop", 2.5).settle_s / HOUR).tolist() == [1.5, 9.0, 9.0, 9.0]


def test_credit_lends_what_is_stuck_and_is_paid_back():
    result = outcome("credit", 2.5)
    assert (result.settle_s / HOUR).tolist() == [1.5, 9.0, 3.0, 4.0]
    assert result.overdraft_minor.tolist() == [0, 100, 0]
    assert result.closing_minor.tolist() == [60, 0, 190]
    late = outcome("credit", 5.0)
    assert (late.settle_s / HOUR).tolist() == [1.5, 9.0, 5.0, 4.0]


def test_an_alarm_makes_others_hoard_until_it_is_verified():
    # Bank 1 keeps back half of its 100 from hour 2 on, half an hour long.
    payments = day((2.1, 1, 2, 80), (2.2, 2, 1, 30))
    banks = banks_table(opening_minor=[0, 100, 100])
    quiet = simulate_day(payments, banks, RULES)
    settings = ResponseSettings(measure="stop", hoarded_share=0.5, verify_s=1_800)
    answer = alarm_actions(settings, alarm(2, until=2.5), quiet, banks.opening_minor)
    result = simulate_day(payments, banks, RULES, answer)
    # With the 30 that came at 2.2 bank 1 has 130 less 50: enough for 80 even while it hoards.
    assert (quiet.settle_s / HOUR).tolist() == [2.1, 2.2]
    assert (result.settle_s / HOUR).tolist() == [2.2, 2.2]


def test_incidents_are_the_same_bank_and_time_for_both_kinds(world):
    days = day((1, 0, 1, 5), (8, 1, 2, 6), (9, 2, 1, 6), num_banks=world.num_banks)
    drawn = [
        draw_incident(world, days, IncidentSettings(kind=kind), horizon_s=1e9, seed=4)
        for kind in ("outage", "stress")
    ]
    assert drawn[0].bank == drawn[1].bank
    assert drawn[0].onset_s == drawn[1].onset_s
    assert world.settings.day_s * 0.2 <= drawn[0].onset_s <= world.settings.day_s * 0.8
    assert drawn[0].actions[0].time_s == drawn[0].onset_s


def test_banks_are_hit_as_often_as_stated(world):
    days = day((1, 0, 1, 5), num_banks=world.num_banks)
    hits = np.zeros(world.num_banks)
    for seed in range(600):
        hits[draw_incident(world, days, IncidentSettings(), horizon_s=1e9, seed=seed).bank] += 1
    share = np.asarray(world.value_NN.sum(axis=1)).ravel()
    share = share / share.sum()
    # Binomial: three standard deviations for the largest bank.
    spread = 3 * np.sqrt(share.max() * (1 - share.max()) / 600)
    assert hits[share.argmax()] / 600 == pytest.approx(share.max(), abs=spread)


@pytest.mark.parametrize(
    "make",
    [
        lambda: IncidentSettings(kind="fire"),
        lambda: IncidentSettings(earliest=0.9),
        lambda: IncidentSettings(median_repair_s=0),
        lambda: IncidentSettings(withheld_share=0),
        lambda: ResponseSettings(measure="pray"),
        lambda: ResponseSettings(refresh_s=1),
        lambda: ResponseSettings(hoarded_share=2),
        lambda: FailureSettings(recovery=2),
        lambda: FailureSettings(hole=-1),
    ],
)
def test_settings_without_a_meaning_are_refused(make):
    with pytest.raises(BadInputError):
        make()
