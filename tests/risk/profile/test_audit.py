"""A profiler judged in batches: the same as a replayed stream, on those it has not been fitted to."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.errors import BadInputError
from warmprompt.risk.plots import plot_payments, plot_reliability
from warmprompt.risk.profile import audit_profiler, drift_of, marks_of, score_rows
from warmprompt.risk.profile.drift import LEAST_VALUES


def test_a_batch_scores_what_a_stream_scores(profiler, world, context, entities, payment_at):
    payments = world.payments
    entity = int(entities[145])
    rows = np.flatnonzero(payments.entity_N == entity)[:40]
    scores, verdicts = score_rows(profiler, payments, context, rows)
    state, waiting = profiler.start(entity), []
    for index, row in enumerate(rows):
        now = payment_at(row)
        due = [one for one in waiting if payments.time_N[one] + payments.label_delay_s <= now.time_s]
        for one in due:
            waiting.remove(one)
            if one in {kept.id for kept in state.payments}:
                state = profiler.report(state, one, fraud=bool(payments.fraud_N[one]), now_s=now.time_s)
        estimate = profiler.score(state, now)
        # Batches add up in another order: float32 through the language model.
        assert scores[index] == pytest.approx(estimate.score, abs=1e-4)
        assert verdicts.p_R[index] == pytest.approx(estimate.p_risk, abs=1e-12)
        says_both = bool(verdicts.says_fraud_R[index]) == bool(verdicts.says_genuine_R[index])
        assert says_both == (estimate.decision == "unsure")
        state = profiler.observe(state, now)
        waiting.append(int(row))


def test_those_it_was_fitted_to_are_not_judged(profiler, world, entities):
    payments, marks = world.payments, marks_of(world.payments)
    used = [mark for entity, mark in marks.items() if entity not in set(entities[:60].tolist())]
    found = audit_profiler(profiler, payments, last=4, leave_out=used)
    counts = np.bincount(payments.entity_N)
    assert found.num_entities == 60
    assert len(found.p_R) == np.minimum(counts[entities[:60]], 4).sum()
    # The last ones of each: the same labels in order of time.
    last = np.sort(np.concatenate([np.flatnonzero(payments.entity_N == one)[-4:] for one in entities[:60]]))
    assert found.fraud_R.tolist() == payments.fraud_N[last].tolist()
    assert sum(num for _, _, num in found.reliability) == len(last)
    assert sum(share * num for _, share, num in found.reliability) == pytest.approx(found.fraud_R.sum())
    fewer = audit_profiler(profiler, payments, last=40, most_entities=30, leave_out=used)
    assert fewer.num_entities == 30
    with pytest.raises(BadInputError, match="All of them were used"):
        audit_profiler(profiler, payments, last=4, leave_out=list(marks.values()))


def test_an_entity_is_known_again_in_a_longer_table_and_not_in_another_world(world):
    payments = world.payments
    cut = len(payments) * 9 // 10
    shorter = replace(
        payments,
        **{
            name: getattr(payments, name)[:cut]
            for name in ("time_N", "entity_N", "counterparty_N", "amount_minor_N", "fraud_N")
        },
    )
    marks = marks_of(payments)
    assert marks_of(shorter).items() <= marks.items()
    moved = replace(payments, time_N=payments.time_N + 1)
    assert not set(marks_of(moved).values()) & set(marks.values())


def test_what_cannot_be_judged_is_refused(profiler, world):
    honest = replace(world.payments, fraud_N=np.zeros(len(world.payments), dtype=bool))
    with pytest.raises(BadInputError, match="0 frauds of"):
        audit_profiler(profiler, honest, last=2, most_entities=5)
    with pytest.raises(BadInputError, match="payments per entity"):
        audit_profiler(profiler, world.payments, last=0)


def test_drift_is_planted_and_found_when_its_labels_are_due():
    # Frauds that nobody expects begin half-way: p_risk stays, the squared error jumps from 0 to 1.
    p, fraud, time = np.full(800, 0.01), np.arange(800) >= 400, np.arange(800) * 60
    found = drift_of(p, fraud, time, now_s=800 * 60, delay_s=6_000)
    assert found["p_risk"].alarms_s == ()
    assert found["squared error"].num_values == 700 + 1
    alarm_s = found["squared error"].alarms_s[0]
    assert 400 * 60 + 6_000 < alarm_s <= (400 + 2 * LEAST_VALUES) * 60 + 6_000
    assert str(found["p_risk"]) == "no alarm in 800"
    few = drift_of(p[:5], fraud[:5], time[:5], now_s=10_000, delay_s=0)
    assert str(few["p_risk"]) == "too few payments (5; 32 at least)"


def test_pictures_are_drawn(profiler, world, entities, payment_at, tmp_path):
    found = audit_profiler(profiler, world.payments, last=20)
    plot_reliability(found, tmp_path / "reliability.png", title="made up")
    row = int(np.flatnonzero(world.payments.entity_N == entities[0])[0])
    payment = payment_at(row)
    estimate = profiler.score(profiler.start(1), payment)
    plot_payments([payment], [estimate], [True], tmp_path / "customer.png", title="one payment")
    for name in ("reliability", "customer"):
        assert (tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(BadInputError, match="Give at least one"):
        plot_payments([], [], [], tmp_path / "none.png", title="nothing")
