"""Rebuilt states equal the stored ones, and newer ones are kept."""

import pytest

from warmprompt.errors import BadInputError
from warmprompt.store.contract import Entry, StoredState
from warmprompt.store.rebuilding import rebuild_states


def adapt(users):
    return [" ".join([user, *(entry.body for entry in log)]).encode() for user, log in users]


@pytest.fixture
def filled(store):
    for number in range(7):
        store.append(f"user {number}", [Entry(kind="event", body=str(part)) for part in range(number + 1)])
    return store


def test_rebuild_uses_the_whole_log(filled):
    steps = list(rebuild_states(filled, adapt, model_hash="new", num_users=3))
    assert [(step.seen, step.stored, step.passed_over, step.total) for step in steps] == [
        (3, 3, 0, 7), (6, 6, 0, 7), (7, 7, 0, 7)
    ]  # fmt: skip
    assert filled.get_state("user 2", "new").data == b"user 2 0 1 2"
    assert filled.progress("new").current == 7


def test_rebuild_skips_current_states(filled):
    list(rebuild_states(filled, adapt, model_hash="new"))
    filled.append("user 3", [Entry(kind="event", body="more")])
    asked = []

    def watched(users):
        asked.extend(user for user, _ in users)
        return adapt(users)

    assert [step.total for step in rebuild_states(filled, watched, model_hash="new")] == [1]
    assert asked == ["user 3"]
    assert list(rebuild_states(filled, watched, model_hash="new")) == []


def test_stopped_rebuild_can_continue(filled):
    next(rebuild_states(filled, adapt, model_hash="new", num_users=2))
    steps = list(rebuild_states(filled, adapt, model_hash="new", num_users=2))
    assert steps[-1].total == 5
    assert filled.progress("new").current == 7


def test_rebuild_respects_concurrent_changes(filled):
    def slow(users):
        if users[0][0] == "user 0":
            filled.delete("user 0")
            log = users[1][1]
            theirs = StoredState(
                model_hash="new", seq=log[-1].seq, evidence_hash=log[-1].evidence_hash, data=b"theirs"
            )
            filled.put_state("user 1", theirs)
        return adapt(users)

    last = list(rebuild_states(filled, slow, model_hash="new", num_users=2))[-1]
    assert (last.stored, last.passed_over) == (5, 2)
    assert filled.get_state("user 0", "new") is None
    assert filled.get_state("user 1", "new").data == b"theirs"


def test_wrong_number_of_states_is_refused(filled):
    with pytest.raises(BadInputError, match=r"states from adapt: '6'\. Return one state for each of 7 users"):
        list(rebuild_states(filled, lambda users: adapt(users)[1:], model_hash="new"))
