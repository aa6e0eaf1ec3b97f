"""The streaming form: replay equals batch, states as bytes, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.errors import BadInputError, IntegrityError, MismatchError, UnknownNameError
from warmprompt.risk.profile import EntityState, Payment, counterparty_context, score_episodes

WEEK = 7 * 86_400


def payment(index, **changed):
    base = {
        "id": index,
        "time_s": 1_525_000_000 + index * 40_000,
        "amount_minor": 1000 + 137 * index,
        "counterparty": f"shop {index % 4}",
        "context": (1.0, 7.0, 30.0, 0.0, 0.1, 0.02, 3.0, 3.0, 14.0, 21.0, 0.1, 0.1, 0.05),
    }
    return Payment(**(base | changed))


def test_replay_equals_batch_bit_for_bit(profiler):
    payments = [payment(index) for index in range(24)]
    state = profiler.start("a")
    for one in payments[:20]:
        state = profiler.observe(state, one)
    state = profiler.report(state, 10, fraud=True, now_s=payments[19].time_s + WEEK)
    for one in payments[20:]:
        state = profiler.observe(state, one)
    batch = profiler.profile("a", payments, {10: True})
    assert state.to_bytes() == batch.to_bytes()
    assert (state.num_seen, len(state.payments), state.payments[0].id) == (24, 20, 4)
    later = payment(30)
    assert profiler.score(state, later) == profiler.score(batch, later)
    assert profiler.profile("a", payments).to_bytes() != batch.to_bytes()


def test_a_state_survives_bytes(profiler):
    state = profiler.profile("a", [payment(index) for index in range(3)], {0: False})
    data = state.to_bytes()
    back = EntityState.from_bytes(data)
    assert back.to_bytes() == data
    assert (back.entity, back.payments, back.labels) == (state.entity, state.payments, state.labels)
    assert np.array_equal(back.vector_D, state.vector_D)
    assert profiler.observe(back, payment(3)).to_bytes() == profiler.observe(state, payment(3)).to_bytes()
    assert not back.vector_D.flags.writeable
    for wrong, error in (
        (b"something", BadInputError),
        (data[:-1], IntegrityError),
        (data[:40] + bytes([data[40] ^ 1]) + data[41:], IntegrityError),
        ("text", BadInputError),
    ):
        with pytest.raises(error):
            EntityState.from_bytes(wrong)


def test_streaming_scores_are_the_batch_scores(profiler, world, context, episodes_of, entities):
    """The two ways share formulas but not code paths: tables on one side, small states on the other."""
    payments = world.payments
    episodes = episodes_of(entities[140:148], ks=(5,))
    expected = score_episodes(profiler.model, episodes)
    for index in range(len(episodes)):
        entity, cut = episodes.cuts.entity_E[index], episodes.cuts.time_E[index]
        own = np.flatnonzero((payments.entity_N == entity) & (payments.time_N < cut))[-5:]

        def payment_of(row):
            return Payment(
                id=int(row),
                time_s=int(payments.time_N[row]),
                amount_minor=int(payments.amount_minor_N[row]),
                counterparty=f"terminal {payments.counterparty_N[row]}",
                context=tuple(context[row].tolist()),
            )

        due = {int(row): bool(payments.fraud_N[row]) for row in own if payments.time_N[row] + WEEK <= cut}
        state = profiler.profile(int(entity), [payment_of(row) for row in own], due)
        for query in np.flatnonzero(episodes.episode_R == index):
            estimate = profiler.score(state, payment_of(episodes.row_R[query]))
            # Batched and single passes of the model round differently.
            assert estimate.score == pytest.approx(expected[query], abs=1e-3)
            assert 0 <= estimate.p_low <= estimate.p_risk <= estimate.p_high <= 1


def test_a_label_is_refused_before_it_is_due(profiler):
    state = profiler.profile("a", [payment(0), payment(1)])
    due_s = payment(1).time_s + WEEK
    with pytest.raises(BadInputError, match="It is due at"):
        profiler.report(state, 1, fraud=True, now_s=due_s - 1)
    labelled = profiler.report(state, 1, fraud=True, now_s=due_s)
    assert labelled.labels == (None, True)
    assert state.labels == (None, None)
    with pytest.raises(UnknownNameError, match="last 20"):
        profiler.report(state, 99, fraud=True, now_s=due_s)
    with pytest.raises(BadInputError, match="bool"):
        profiler.report(state, 1, fraud=1, now_s=due_s)


def test_payments_out_of_order_or_reported_twice_are_refused(profiler):
    state = profiler.profile("a", [payment(5)])
    for call in (profiler.observe, profiler.score):
        with pytest.raises(BadInputError, match="in order of time"):
            call(state, payment(4))
    with pytest.raises(BadInputError, match="in order of time"):
        profiler.profile("a", [payment(5), payment(4)])
    with pytest.raises(BadInputError, match="given before"):
        profiler.observe(state, payment(5, time_s=payment(6).time_s))


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"amount_minor": float("nan")}, "amount_minor of payment"),
        ({"amount_minor": -1}, "amount_minor of payment"),
        ({"amount_minor": True}, "amount_minor of payment"),
        ({"time_s": 1.5}, "time_s of payment"),
        ({"counterparty": None}, "counterparty of payment"),
        ({"id": 1.0}, "id of payment"),
        ({"context": (0.0,)}, "context of payment"),
        ({"context": (float("nan"),) * 13}, "context of payment"),
    ],
)
def test_a_payment_that_cannot_be_is_refused(profiler, changed, field):
    with pytest.raises(BadInputError) as caught:
        profiler.observe(profiler.start("a"), payment(0, **changed))
    assert caught.value.field == field


@pytest.mark.parametrize("entity", [None, 1.5, True, b"a"])
def test_an_entity_without_a_proper_id_is_refused(profiler, entity):
    with pytest.raises(BadInputError, match="text or a whole number"):
        profiler.start(entity)


def test_another_models_state_is_refused(profiler):
    state = replace(profiler.start("a"), model_hash="0" * 64)
    for call in (profiler.observe, profiler.score):
        with pytest.raises(MismatchError, match="profile the entity again"):
            call(state, payment(0))


def test_without_history_no_step_is_taken(profiler):
    state = profiler.start("nobody")
    start = profiler.model.params["prompt.start"].numpy()
    assert np.array_equal(state.offsets_PH, start)
    assert profiler.score(state, payment(0)).num_known == 0


def test_no_payment_after_the_scored_one_changes_a_bit_of_its_score(profiler, world, entities):
    """Scores from the whole table, and from one where all that comes later was shuffled."""
    payments = world.payments
    end_s = int(payments.time_N[0]) // 86_400 * 86_400 + 50 * 86_400
    before = payments.time_N < end_s
    mixed = np.random.default_rng(4).permutation(np.flatnonzero(~before))
    shuffled = replace(
        payments,
        **{
            name: np.concatenate([getattr(payments, name)[before], getattr(payments, name)[mixed]])
            for name in ("entity_N", "counterparty_N", "amount_minor_N", "fraud_N")
        },
    )

    def score(table, entity):
        context_NC = counterparty_context(table)
        own = np.flatnonzero((table.entity_N == entity) & (table.time_N < end_s))[-8:]
        payments_of = [
            Payment(
                id=int(row),
                time_s=int(table.time_N[row]),
                amount_minor=int(table.amount_minor_N[row]),
                counterparty=int(table.counterparty_N[row]),
                context=tuple(context_NC[row].tolist()),
            )
            for row in own
        ]
        last = payments_of[-1]
        due = {
            int(row): bool(table.fraud_N[row]) for row in own[:-1] if table.time_N[row] + WEEK <= last.time_s
        }
        return profiler.score(profiler.profile(int(entity), payments_of[:-1], due), last)

    busy = [entity for entity in entities if ((payments.entity_N == entity) & before).sum() > 8][:4]
    for entity in busy:
        assert score(payments, entity) == score(shuffled, entity)
