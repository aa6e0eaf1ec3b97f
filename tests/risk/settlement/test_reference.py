"""The compiled day against the slow one, event by event, on random small systems."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.risk.settlement import (
    EVERY,
    Rules,
    banks_table,
    block,
    cut_exposure,
    inject,
    lift,
    limit,
    outage,
    payments_table,
    reserve,
    set_cap,
    simulate_day,
)

CLOSE_S = 12


@st.composite
def systems(draw, num_actions=4, max_payments=14):
    num = draw(st.integers(2, 4))
    bank, amount = st.integers(0, num - 1), st.integers(1, 9)
    # Few times and small amounts, so that ties, exact fits and gridlocks are common.
    rows = draw(
        st.lists(
            st.tuples(st.integers(0, CLOSE_S), bank, st.integers(1, num - 1), amount, st.integers(0, 2)),
            max_size=max_payments,
        )
    )
    rows.sort(key=lambda row: row[0])
    columns = list(zip(*rows, strict=True)) or [(), (), (), (), ()]
    payments = payments_table(
        time_s=columns[0],
        sender=columns[1],
        receiver=[(one + step) % num for one, step in zip(columns[1], columns[2], strict=True)],
        amount_minor=columns[3],
        priority=columns[4],
        num_banks=num,
    )
    small = st.lists(st.integers(0, 6), min_size=num, max_size=num)
    banks = banks_table(
        opening_minor=draw(small),
        cap_minor=draw(st.one_of(st.just([0] * num), small)),
        reserve_minor=draw(st.one_of(st.just([0] * num), small)),
    )
    time, some = st.integers(-1, CLOSE_S + 1), st.integers(EVERY, num - 1)
    pair = {"time_s": time, "bank": some, "other": some}
    kinds = st.one_of(
        st.builds(
            lambda bank, start_s, length: outage(bank=bank, start_s=start_s, end_s=start_s + length),
            some, time, st.integers(1, 6),
        ),
        st.builds(limit, **pair, amount_minor=st.integers(0, 9)).map(lambda one: (one,)),
        st.builds(block, **pair).map(lambda one: (one,)),
        st.builds(lift, **pair).map(lambda one: (one,)),
        st.builds(cut_exposure, **pair, amount_minor=st.integers(0, 3)).map(lambda one: (one,)),
        st.builds(reserve, time_s=time, bank=some, amount_minor=st.integers(0, 6)).map(lambda one: (one,)),
        st.builds(set_cap, time_s=time, bank=some, amount_minor=st.integers(0, 6)).map(lambda one: (one,)),
        st.builds(inject, time_s=time, bank=some, amount_minor=st.integers(1, 6)).map(lambda one: (one,)),
    )  # fmt: skip
    actions = [one for group in draw(st.lists(kinds, max_size=num_actions)) for one in group]
    return payments, banks, actions


def rules(**chosen):
    return Rules(close_s=CLOSE_S, **{"sample_s": 2.5, "offset_every_s": 4, **chosen})


RULES = [
    rules(order=order, bypass=bypass, offsetting=offsetting, cycle_s=cycle_s)
    for order in ("fifo", "priority")
    for bypass in (False, True)
    for offsetting, cycle_s in (("none", 0), ("bilateral", 0), ("multilateral", 0), ("both", 0), ("both", 3))
]


def require_equal(found, slow, banks):
    assert found.settle_s.tolist() == pytest.approx(slow.settle_s, abs=0, nan_ok=True)
    assert found.how.tolist() == slow.how
    batches = [set(np.flatnonzero(found.batch == one).tolist()) for one in np.unique(found.batch) if one >= 0]
    assert batches == slow.batches
    assert found.closing_minor.tolist() == slow.balance
    assert found.used_minor.tolist() == slow.used
    assert found.overdraft_minor.tolist() == slow.overdraft
    assert (banks.opening_minor + found.injected_minor).tolist() == slow.given
    assert len(found.series.grid_s) == len(slow.samples)
    for index, sample in enumerate(slow.samples):
        assert found.series.values_TNF[index].T.tolist() == sample[:-1]
        assert found.series.delay_s_TN[index].tolist() == sample[-1]


@pytest.mark.parametrize(
    "chosen", RULES, ids=lambda one: f"{one.order}-{one.bypass}-{one.offsetting}-{one.cycle_s}"
)
def test_every_rule_gives_what_the_slow_reference_gives(reference, chosen):
    @settings(max_examples=25)
    @given(systems())
    def agree(system):
        payments, banks, actions = system
        found = simulate_day(payments, banks, chosen, actions, check=True)
        require_equal(found, reference.Day(payments, banks, chosen, actions).run(), banks)

    agree()


@settings(max_examples=50)
@given(systems(num_actions=6), st.sampled_from(RULES))
def test_every_rule_with_many_actions(reference, system, chosen):
    payments, banks, actions = system
    found = simulate_day(payments, banks, chosen, actions, check=True)
    require_equal(found, reference.Day(payments, banks, chosen, actions).run(), banks)
    # One count per event that moves money, and each of them adds up all balances.
    assert found.num_checks >= len(np.unique(found.batch[found.batch >= 0]))


@settings(max_examples=50)
@given(systems(num_actions=3), st.sampled_from(RULES), st.integers(0, CLOSE_S))
def test_what_happens_before_an_action_does_not_depend_on_it(system, chosen, time_s):
    payments, banks, actions = system
    before = [one for one in actions if one.time_s < time_s]
    # An outage that began keeps its beginning only; its end lies in the part that is left out.
    whole = simulate_day(payments, banks, chosen, actions)
    cut = simulate_day(payments, banks, chosen, before)
    early = whole.settle_s < time_s
    assert np.array_equal(early, cut.settle_s < time_s)
    assert np.array_equal(whole.settle_s[early], cut.settle_s[early])
    assert np.array_equal(whole.batch[early], cut.batch[early])
    seen = whole.series.grid_s < time_s
    assert np.array_equal(whole.series.values_TNF[seen], cut.series.values_TNF[seen])
