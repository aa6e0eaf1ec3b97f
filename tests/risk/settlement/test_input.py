"""Bad input is one clear error; the empty day and other edges have a stated meaning."""

import numpy as np
import pytest

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.risk.settlement import (
    Action,
    DayShape,
    Rules,
    banks_table,
    inject,
    limit,
    liquidity_bounds,
    outage,
    payment_day,
    payments_table,
    simulate_day,
)

GOOD = {"time_s": [1, 2], "sender": [0, 1], "receiver": [1, 0], "amount_minor": [5, 5], "num_banks": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"amount_minor": [5, -5]}, r"amount_minor, row 1: '-5'. Give an amount above 0"),
        ({"amount_minor": [0, 5]}, r"amount_minor, row 0: '0'. Give an amount above 0"),
        ({"amount_minor": [5, float("nan")]}, r"amount_minor, row 1: 'nan'. Give whole numbers"),
        ({"amount_minor": [5, float("inf")]}, r"amount_minor, row 1: 'inf'"),
        ({"amount_minor": [5.5, 5]}, r"amount_minor: 'column of float64'. Give integers"),
        ({"amount_minor": np.array([5, 2**63], dtype=np.uint64)}, r"amount_minor, row 1: .* 64 bits"),
        ({"amount_minor": [2**61, 2**61]}, r"total of amount_minor: '4611686018427387904'"),
        ({"amount_minor": [[5, 5]]}, r"amount_minor: 'shape \(1, 2\)'"),
        ({"amount_minor": ["5", "5"]}, r"amount_minor: 'column of <U1'"),
        ({"sender": [0, 2]}, r"sender, row 1: '2'. Name a bank from 0 to 1"),
        ({"receiver": [-1, 0]}, r"receiver, row 0: '-1'. Name a bank from 0 to 1"),
        ({"receiver": [1, 1]}, r"receiver, row 1: '1'. A bank cannot pay itself"),
        ({"time_s": [2, 1]}, r"time_s, row 1: '1.0'. It is earlier than the row above; sort"),
        ({"time_s": [1, float("nan")]}, r"time_s, row 1: 'nan'"),
        ({"priority": [0, 10]}, r"priority, row 1: '10'"),
        ({"sender": [0]}, r"payments: 'columns of \[1, 2\] rows'"),
        ({"num_banks": 0}, r"num_banks: '0'"),
    ],
)
def test_bad_payments_name_column_row_and_remedy(change, message):
    with pytest.raises(BadInputError, match=message):
        payments_table(**{**GOOD, **change})


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"opening_minor": [1, -1]}, r"opening_minor, row 1: '-1'"),
        ({"opening_minor": [1.0, float("nan")]}, r"opening_minor, row 1: 'nan'"),
        ({"opening_minor": []}, r"opening_minor: 'no rows'"),
        ({"opening_minor": [1, 1], "cap_minor": [1]}, r"cap_minor: '1 rows beside 2"),
        ({"opening_minor": [1, 1], "reserve_minor": [0, -3]}, r"reserve_minor, row 1: '-3'"),
        ({"opening_minor": [2**61, 2**61]}, r"total of opening_minor"),
    ],
)
def test_bad_banks_name_column_and_row(columns, message):
    with pytest.raises(BadInputError, match=message):
        banks_table(**columns)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order": "lifo"}, "order: 'lifo'. Choose one of: fifo, priority"),
        ({"offsetting": "all"}, "offsetting: 'all'"),
        ({"offset_every_s": 0}, "offset_every_s: '0'"),
        ({"cycle_s": -1}, "cycle_s: '-1'"),
        ({"sample_s": float("nan")}, "sample_s: 'nan'"),
        ({"open_s": 5, "close_s": 5}, "open_s, close_s: '5 to 5'"),
    ],
)
def test_bad_rules(values, message):
    with pytest.raises(BadInputError, match=message):
        Rules(**values)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (inject(time_s=1, bank=2, amount_minor=5), r"action 0 \(inject\), bank: '2'"),
        (inject(time_s=1, bank=0, amount_minor=0), r"amount_minor: '0'. .* at least 1"),
        (inject(time_s=1, bank=0, amount_minor=1.5), r"amount_minor: '1.5'"),
        (inject(time_s=1, bank=0, amount_minor=2**62 - 1), r"total of payments, opening balances and inj"),
        (limit(time_s=float("nan"), bank=0, other=1, amount_minor=5), r"time_s: 'nan'"),
        (limit(time_s=1, bank=0, other=7, amount_minor=5), r"other: '7'"),
        (limit(time_s=1, bank=0, other=1, amount_minor=-5), r"amount_minor: '-5'"),
        (Action(time_s=1, kind="stop", bank=0), r"action 0 \(stop\): 'stop'. Choose one of"),
        (Action(time_s=1, kind="up", bank=0), r"end of outage of bank 0: '1'"),
    ],
)
def test_bad_actions(action, message):
    with pytest.raises(BadInputError, match=message):
        simulate_day(payments_table(**GOOD), banks_table(opening_minor=[9, 9]), None, [action])


def test_an_outage_ends_after_it_starts():
    with pytest.raises(BadInputError, match=r"outage: '5 to 5'"):
        outage(bank=0, start_s=5, end_s=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"open_s": 1.5}, r"time_s, row 0: '1.0'. Keep payments within the day"),
        ({"close_s": 1.5}, r"time_s, row 1: '2.0'. Keep payments within the day"),
        ({"sample_s": 0.001}, r"step: '0.001 s'|sample_s"),
        ({"sample_s": 0.01}, r"sample_s: '0.01'. Sample less often, or not at all \(None\)"),
    ],
)
def test_payments_and_samples_fit_the_day(values, message):
    num_banks = 100
    payments = payments_table(**{**GOOD, "num_banks": num_banks})
    with pytest.raises(BadInputError, match=message):
        simulate_day(payments, banks_table(opening_minor=[9] * num_banks), Rules(**values))


def test_as_many_balances_as_banks():
    with pytest.raises(MismatchError, match="3 banks, payments among 2"):
        simulate_day(payments_table(**GOOD), banks_table(opening_minor=[9, 9, 9]))


def test_a_day_without_payments_ends_as_it_began():
    none = payments_table(time_s=[], sender=[], receiver=[], amount_minor=[], num_banks=2)
    found = simulate_day(
        none,
        banks_table(opening_minor=[3, 4]),
        Rules(close_s=100, offsetting="both", sample_s=50),
        [limit(time_s=1, bank=0, other=1, amount_minor=1), inject(time_s=2, bank=0, amount_minor=6)],
        check=True,
    )
    assert found.closing_minor.tolist() == [9, 4]
    assert (len(found.settle_s), found.unsettled_minor, found.delay_indicator) == (0, 0, 0.0)
    assert found.series.grid_s.tolist() == [50, 100]
    assert [bound.tolist() for bound in liquidity_bounds(none)] == [[0, 0], [0, 0]]


def test_actions_after_the_close_have_no_effect_and_none_need_be_sorted():
    payments, banks = payments_table(**GOOD), banks_table(opening_minor=[0, 0])
    late = inject(time_s=11, bank=0, amount_minor=5)
    first = inject(time_s=0, bank=0, amount_minor=2)
    second = inject(time_s=1.5, bank=0, amount_minor=3)
    found = simulate_day(payments, banks, Rules(close_s=10, sample_s=None), [late, second, first])
    assert found.settle_s.tolist() == [1.5, 2]
    assert found.injected_minor.tolist() == [5, 0]
    assert len(found.series.grid_s) == 0


def test_a_lost_cent_is_noticed(monkeypatch):
    from warmprompt.risk.settlement import simulate

    start = simulate._start

    def one_cent_short(*args, **options):
        day = start(*args, **options)
        day.banks[1, simulate.BALANCE] -= 1
        return day

    monkeypatch.setattr(simulate, "_start", one_cent_short)
    payments, banks = payments_table(**GOOD), banks_table(opening_minor=[9, 9])
    assert simulate_day(payments, banks).is_settled.all()
    with pytest.raises(IntegrityError, match="settlement checks that failed: '2'"):
        simulate_day(payments, banks, check=True)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([[0, 1]], "links: 'shape"),
        ([[0, -1], [1, 0]], "links: 'weights'"),
        ([[0, float("nan")], [1, 0]], "links: 'weights'"),
        ([[0, 0], [0, 0]], "links: 'weights'"),
        ([[0, 1], [1, 2]], "links: 'bank 1 to itself'"),
    ],
)
def test_bad_links(links, message):
    with pytest.raises(BadInputError, match=message):
        payment_day(np.array(links), num_payments=3, seed=0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"profile": (0, 0)}, "profile"),
        ({"profile": (1, -1)}, "profile"),
        ({"median_minor": 0.5}, "median_minor"),
        ({"sigma": -1}, "sigma"),
        ({"open_s": 9, "close_s": 9}, "open_s, close_s"),
    ],
)
def test_bad_shapes_of_a_day(values, message):
    with pytest.raises(BadInputError, match=message):
        DayShape(**values)


def test_bad_numbers_of_payments_and_medians():
    with pytest.raises(BadInputError, match="num_payments: '-1'"):
        payment_day(np.array([[0, 1], [1, 0]]), num_payments=-1, seed=0)
    with pytest.raises(BadInputError, match="3 medians for 2 links"):
        payment_day(
            np.array([[0, 1], [1, 0]]), num_payments=1, seed=0, shape=DayShape(median_minor=[1, 2, 3])
        )
    assert len(payment_day(np.array([[0, 1], [1, 0]]), num_payments=0, seed=0)) == 0
