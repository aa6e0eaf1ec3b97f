"""Delays as a signal: against brute force, by hand, and a bank that is planted to be short of money."""

import numpy as np
import pytest

from warmprompt.risk.settlement import Rules, banks_table, payments_table, reserve, simulate_day
from warmprompt.risk.study.delays import (
    LATE_S,
    RISE,
    STRENGTH,
    first_late_alarms,
    largest_sums,
    late_counts,
    late_shares,
    late_stream,
    learn_late,
)
from warmprompt.risk.study.plan import StudySettings
from warmprompt.risk.study.scenario import Scenario
from warmprompt.risk.study.watchers import (
    DELAYS,
    FEW_SHOT,
    Seeing,
    TrainingSettings,
    set_to_work,
    train_watchers,
)
from warmprompt.risk.study.world import draw_days, make_bank_world
from warmprompt.rng import derive, derive_seed


def drawn(seed, num=80, num_banks=5):
    rng = derive(seed, "late")
    payments = payments_table(
        time_s=np.sort(rng.uniform(0, 50_000, num)),
        sender=rng.integers(num_banks, size=num),
        receiver=np.full(num, num_banks),
        amount_minor=np.ones(num, dtype=np.int64),
        num_banks=num_banks + 1,
    )
    waits = np.where(rng.random(num) < 0.4, rng.uniform(0, 4_000, num), 0.0)
    settled = np.where(rng.random(num) < 0.1, np.nan, payments.time_s + waits)
    return payments, settled, rng.uniform(0.05, 0.5, num_banks + 1)


def brute_force(payments, settled, share, bank, at):
    """S at one moment: the best start of a run of payments whose lateness is known by then, or none."""
    known = []
    for submitted, done in zip(
        payments.time_s[payments.sender == bank], settled[payments.sender == bank], strict=True
    ):
        late = not done - submitted <= LATE_S
        when = submitted + LATE_S if late else done
        if when <= at:
            odds = RISE * share / (1 - share)
            risen = odds / (1 + odds)
            known.append((when, np.log(risen / share) if late else np.log((1 - risen) / (1 - share))))
    ratios = [ratio for _, ratio in sorted(known)]
    return max([0.0, *(sum(ratios[start:]) for start in range(len(ratios)))])


@pytest.mark.parametrize("seed", range(3))
def test_sums_and_alarms_are_those_of_brute_force(seed):
    payments, settled, share_N = drawn(seed)
    stream = late_stream(payments, payments.time_s, settled, end_s=60_000.0)
    largest = largest_sums(stream, share_N)
    alarms = first_late_alarms(stream, share_N, threshold=2.0, not_before_s=12_000.0)
    for bank in range(5):
        moments = np.unique([12_000.0, *stream.known_s_P[stream.bank_P == bank]])
        sums = np.array([brute_force(payments, settled, share_N[bank], bank, at) for at in moments])
        assert largest[bank] == pytest.approx(sums.max(), abs=1e-9)
        reached = moments[(sums >= 2.0) & (moments >= 12_000.0)]
        if len(reached):
            assert alarms[bank] == pytest.approx(reached[0])
        else:
            assert np.isnan(alarms[bank])
    # Who submits nothing is never alarmed.
    assert np.isnan(alarms[5])


def test_lateness_is_known_when_it_can_be():
    payments = payments_table(
        time_s=np.array([0.0, 10.0, 20.0, 30.0]),
        sender=np.zeros(4, dtype=np.int64),
        receiver=np.ones(4, dtype=np.int64),
        amount_minor=np.ones(4, dtype=np.int64),
        num_banks=2,
    )
    settled = np.array([5.0, 10.0 + LATE_S + 1, np.nan, np.nan])
    stream = late_stream(payments, np.array([0.0, 10.0, 20.0, np.inf]), settled, end_s=1_000.0)
    assert stream.known_s_P.tolist() == [5.0, 10.0 + LATE_S, 20.0 + LATE_S]
    assert stream.late_P.tolist() == [False, True, True]
    earlier = late_stream(payments, payments.time_s, settled, end_s=100.0)
    assert earlier.known_s_P.tolist() == [5.0]


def test_shares_start_at_the_class_and_move_with_the_banks_own_days(world):
    late, num = late_counts(world)
    assert (
        num.tolist()
        == np.sum([np.bincount(day.sender, minlength=60) for day in world.history], axis=0).tolist()
    )
    start = learn_late([world], [(late, num)])
    for group in np.unique(world.group_N):
        own = world.group_N == group
        assert start[group] == pytest.approx(late[own].sum() / num[own].sum())
    share = late_shares(start, world, (np.zeros_like(late), np.full_like(num, int(STRENGTH))))
    # As many payments on time as the start is worth: half of the class's share.
    assert share == pytest.approx(np.clip(start[world.group_N] / 2, 1e-4, 0.9))


@pytest.fixture(scope="module")
def trained(settings):
    training = TrainingSettings(
        num_worlds=3, num_stretches=4, num_days=1, num_history=3, alarms_per_day=(0.5,)
    )
    return train_watchers(settings, training, seed=2)


def test_a_bank_short_of_money_is_noticed_by_its_delays_and_not_by_its_outflow(trained, settings):
    # The largest bank submits as ever and can pay almost nothing: a queue, and no silence.
    world = make_bank_world(settings, seed=11, num_history=3)
    days = draw_days(world, seed=4, num_days=1)
    study = StudySettings(world=settings, num_scenarios=2, num_days=1, num_history=3)
    scenario = Scenario(study, trained, 0, 11)
    onset_s = 20_000.0
    drained = [reserve(time_s=onset_s, bank=0, amount_minor=int(1e15))]
    settled = simulate_day(days, scenario.banks, scenario.rules, drained).settle_s
    watching = set_to_work(trained, world)
    seen = Seeing(submitted_s=days.time_s, settled_s=settled)
    alarm_s = {
        name: watching.alarms(name, days, seen, rate=0.5, not_before_s=onset_s)[0]
        for name in (FEW_SHOT, DELAYS)
    }
    assert np.isnan(alarm_s[FEW_SHOT])
    assert onset_s + LATE_S <= alarm_s[DELAYS] < onset_s + 6 * 3_600


def test_no_more_wrong_alarms_than_asked_for_on_the_days_they_were_set_on(trained, settings):
    # 12 days at 0.5 a day: at most 6 banks, 3 for each signal, and one whose ratio is the threshold but for
    # rounding.
    wrong = 0
    for index in range(3):
        world = make_bank_world(settings, seed=derive_seed(2, "set", index), num_history=3)
        watching = set_to_work(trained, world)
        banks = banks_table(opening_minor=world.opening_minor)
        for stretch in range(4):
            days = draw_days(world, seed=derive_seed(2, "clean", index, stretch), num_days=1)
            rules = Rules(close_s=settings.day_s, bypass=True, sample_s=None)
            seen = Seeing(submitted_s=days.time_s, settled_s=simulate_day(days, banks, rules).settle_s)
            wrong += int(np.isfinite(watching.alarms(DELAYS, days, seen, rate=0.5)).sum())
    assert 3 <= wrong <= 7
