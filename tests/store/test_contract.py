"""What every store keeps to, on SQLite and on a real PostgreSQL."""

import hashlib
import json
from dataclasses import replace

import pytest

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.store.contract import (
    Appended,
    Deleted,
    Entry,
    Head,
    Put,
    StatesProgress,
    StoredState,
)
from warmprompt.store.evidence import NO_EVIDENCE

MODEL = "m" * 64


def entries(*items, kind="event"):
    return [Entry(kind=kind, body=json.dumps({"item": item})) for item in items]


ONE = Entry(kind="event", body="{}")


def state(log, *, seq=None, model=MODEL, data=b"state"):
    seq = seq or len(log)
    return StoredState(model_hash=model, seq=seq, evidence_hash=log[seq - 1].evidence_hash, data=data)


def test_log_keeps_entries_unchanged_in_order(store):
    bodies = ["{}", '{"a": "\\u0000 \\ud800"}', "", "ünï 🎬 \n\t\x01 '; DROP TABLE x --", "x" * 65_536]
    for body in bodies:
        store.append("ada", [Entry(kind="event", body=body)])
    log = store.entries("ada")
    assert [entry.body for entry in log] == bodies
    assert [entry.seq for entry in log] == [1, 2, 3, 4, 5]
    assert {entry.time_s for entry in log} == {1_700_000_000}


def test_append_returns_entry_numbers(store):
    first = store.append("ada", entries(1, 2))
    second = store.append("ada", entries(3), idempotency_key="k")
    assert (first.first_seq, first.last_seq, first.repeated) == (1, 2, False)
    assert (second.first_seq, second.last_seq, second.repeated) == (3, 3, False)
    assert second.evidence_hash == store.entries("ada")[-1].evidence_hash
    assert store.head("ada") == Head(user="ada", last_seq=3, evidence_hash=second.evidence_hash)


def test_heads_skip_unknown_users(store):
    ends = [
        store.append(user, entries(*range(1, index + 2))) for index, user in enumerate(("ada", "bob", "Ünï"))
    ]
    found = store.heads(["bob", "nobody", "Ünï", "ada"])
    assert sorted(found, key=lambda head: head.last_seq) == [
        Head(user=user, last_seq=end.last_seq, evidence_hash=end.evidence_hash)
        for user, end in zip(("ada", "bob", "Ünï"), ends, strict=True)
    ]
    assert store.heads([]) == ()


def test_evidence_hash_matches_its_definition(store):
    assert hashlib.sha256(b"warmprompt log 1").hexdigest() == NO_EVIDENCE
    store.append("ada", [Entry(kind="profile", body="é"), Entry(kind="event", body="{}")])
    one = hashlib.sha256(bytes.fromhex(NO_EVIDENCE) + b"\0\0\0\x07profile" + "é".encode()).digest()
    two = hashlib.sha256(one + b"\0\0\0\x05event{}").digest()
    assert [entry.evidence_hash for entry in store.entries("ada")] == [one.hex(), two.hex()]


def test_repeated_key_returns_the_first_result(store):
    first = store.append("ada", entries(1, 2), idempotency_key="k")
    store.append("ada", entries(3))
    again = store.append("ada", entries(1, 2), idempotency_key="k")
    assert again == Appended(first_seq=1, last_seq=2, evidence_hash=first.evidence_hash, repeated=True)
    assert len(store.entries("ada")) == 3


@pytest.mark.parametrize(
    "other", [entries(1), entries(1, 2, 3), entries(2, 1), entries(1, 2, kind="profile")]
)
def test_reused_key_with_other_entries_fails(store, other):
    store.append("ada", entries(1, 2), idempotency_key="k")
    with pytest.raises(MismatchError, match=r"idempotency key: 'k'\. .*other entries"):
        store.append("ada", other, idempotency_key="k")
    assert len(store.entries("ada")) == 2


def test_idempotency_keys_are_per_user(store):
    store.append("ada", entries(1), idempotency_key="k")
    assert not store.append("bob", entries(2), idempotency_key="k").repeated


def test_refused_append_writes_nothing(store):
    with pytest.raises(BadInputError):
        store.append("ada", [*entries(1), Entry(kind="event", body="\0")])
    assert store.head("ada") is None
    assert store.users().users == ()


def test_entries_can_be_read_in_parts(store):
    store.append("ada", entries(*range(10)))
    assert [entry.seq for entry in store.entries("ada", after=4, limit=3)] == [5, 6, 7]
    assert store.entries("ada", after=10) == ()
    assert store.entries("nobody") == ()


@pytest.mark.parametrize("user", ["ada", "a/b?c#d", "  ", "🎬" * 128, "Ada", "ÄDA", "\n\x01", "x" * 512])
def test_similar_user_ids_are_distinct(store, user):
    for other in ("ada ", "Ada ", "äda", "ADA"):
        store.append(other, entries(1))
    store.append(user, entries(1, 2))
    assert [len(store.entries(one)) for one in (user, "ada ", "Ada ", "äda", "ADA")] == [2, 1, 1, 1, 1]
    assert user in {head.user for head in store.users().users}


@pytest.mark.parametrize(
    ("user", "remedy"),
    [
        ("", "at least one character"),
        ("x" * 513, "at most 512"),
        ("é" * 257, "at most 512"),
        ("a\0b", "without NUL"),
        ("\ud800", "valid Unicode"),
        (7, "Give text"),
        (None, "Give text"),
    ],
)
def test_invalid_user_id_is_refused_everywhere(store, user, remedy):
    calls = [
        lambda: store.append(user, entries(1)),
        lambda: store.entries(user),
        lambda: store.head(user),
        lambda: store.heads(["ada", user]),
        lambda: store.get_state(user, MODEL),
        lambda: store.export(user),
        lambda: store.delete(user),
    ]
    for call in calls:
        with pytest.raises(BadInputError, match=f"user id: .*{remedy}"):
            call()


@pytest.mark.parametrize(
    ("entries", "field"),
    [
        ([], "entries"),
        ("event", "entries"),
        ([{"kind": "event"}], "entries, position 0"),
        ([Entry(kind="", body="{}")], "kind of entry 0"),
        ([*entries(1), Entry(kind="event", body="x" * 65_537)], "body of entry 1"),
        ([Entry(kind="event", body="\ud800")], "body of entry 0"),
        ([Entry(kind="event", body={"item": 1})], "body of entry 0"),
    ],
)
def test_invalid_entries_are_refused_by_index(store, entries, field):
    with pytest.raises(BadInputError) as caught:
        store.append("ada", entries)
    assert caught.value.field == field


@pytest.mark.parametrize("number", [-1, 2**63, 1.0, True, "1"])
def test_invalid_numbers_are_refused(store, number):
    calls = [
        lambda: store.entries("ada", after=number),
        lambda: store.users(after=number),
        lambda: store.users(limit=number),
        lambda: store.behind(MODEL, limit=number),
        lambda: store.items(since=number),
        lambda: store.drop_states(keep=[], limit=number),
    ]
    for call in calls:
        with pytest.raises(BadInputError, match="whole number"):
            call()


def test_pages_list_each_user_once(store):
    for name in range(7):
        store.append(f"user{name}", entries(1))
    met, after = [], 0
    while after is not None:
        page = store.users(after=after, limit=2)
        met += [head.user for head in page.users]
        after = page.next
        if len(met) == 2:
            store.delete("user0")
            store.delete("user6")
            store.append("late", entries(1))
    assert met[:6] == [f"user{name}" for name in range(6)]
    assert met[6:] in ([], ["late"])


def test_state_is_read_bit_for_bit(store):
    store.append("ada", entries(1))
    put = state(store.entries("ada"), data=bytes(range(256)) * 40)
    assert store.get_state("ada", MODEL) is None
    assert store.put_state("ada", put) is Put.STORED
    assert store.get_state("ada", MODEL) == put


def test_newer_state_is_never_overwritten(store):
    store.append("ada", entries(1, 2, 3))
    log = store.entries("ada")
    two = state(log, seq=2, data=b"two")
    assert store.put_state("ada", two) is Put.STORED
    assert store.put_state("ada", state(log, seq=1, data=b"one")) is Put.KEPT
    assert store.put_state("ada", state(log, seq=2, data=b"other")) is Put.KEPT
    assert store.get_state("ada", MODEL) == two
    assert store.put_state("ada", state(log, seq=3, data=b"three")) is Put.STORED
    assert store.get_state("ada", MODEL).data == b"three"


def test_each_model_has_its_own_state(store):
    store.append("ada", entries(1, 2))
    log = store.entries("ada")
    old, new = state(log, model="old"), state(log, seq=1, model="new")
    assert [store.put_state("ada", one) for one in (old, new)] == [Put.STORED, Put.STORED]
    assert store.get_state("ada", "old") == old
    assert store.get_state("ada", "new") == new
    assert store.drop_states(keep=["new"]) == 1
    assert store.drop_states(keep=["new"]) == 0
    assert store.get_state("ada", "old") is None
    assert store.get_state("ada", "new") == new


def test_states_are_dropped_in_batches(store):
    for name in range(5):
        store.append(f"user{name}", entries(1))
        store.put_state(f"user{name}", state(store.entries(f"user{name}")))
    assert [store.drop_states(keep=[], limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_state_of_other_evidence_is_refused(store):
    store.append("ada", entries(1, 2))
    store.append("bob", entries(2, 1))
    for wrong in (state(store.entries("bob")), state(store.entries("bob"), seq=1)):
        assert store.put_state("ada", wrong) is Put.REFUSED
    assert store.put_state("nobody", state(store.entries("ada"))) is Put.REFUSED
    assert store.get_state("ada", MODEL) is None


def test_state_from_before_deletion_is_refused(store):
    store.append("ada", entries(1, 2))
    late = state(store.entries("ada"))
    store.delete("ada")
    assert store.put_state("ada", late) is Put.REFUSED
    store.append("ada", entries(3, 4))
    assert store.put_state("ada", late) is Put.REFUSED


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"model_hash": ""}, "model hash"),
        ({"seq": 0}, "seq of the state"),
        ({"evidence_hash": "0" * 63 + "G"}, "evidence hash"),
        ({"data": "text"}, "data of the state"),
        ({"data": b"x" * (16 * 2**20 + 1)}, "data of the state"),
    ],
)
def test_invalid_state_is_refused(store, change, field):
    good = {"model_hash": MODEL, "seq": 1, "evidence_hash": "0" * 64, "data": b""}
    with pytest.raises(BadInputError) as caught:
        store.put_state("ada", StoredState(**good | change))
    assert caught.value.field == field


def test_users_behind_are_listed(store):
    for name in ("none", "behind", "current", "of another model"):
        store.append(name, entries(1))
    for name, model in (("behind", MODEL), ("current", MODEL), ("of another model", "other")):
        store.put_state(name, state(store.entries(name), model=model))
    store.append("behind", entries(2))
    assert [head.user for head in store.behind(MODEL).users] == ["none", "behind", "of another model"]
    assert store.progress(MODEL) == StatesProgress(users=4, current=1)
    first = store.behind(MODEL, limit=2)
    assert [head.user for head in store.behind(MODEL, after=first.next).users] == ["of another model"]


def test_export_contains_one_user_completely(store):
    assert store.export("ada") is None
    for user in ("ada", "bob"):
        store.append(user, entries(1, 2), idempotency_key=f"{user} 1")
        store.append(user, entries(3), idempotency_key=f"{user} 0")
        for model in ("b", "a"):
            store.put_state(user, state(store.entries(user), model=model, data=user.encode()))
    export = store.export("ada")
    assert (export.user, export.first_seen_s) == ("ada", 1_700_000_000)
    assert export.entries == store.entries("ada")
    assert export.idempotency_keys == (("ada 1", 1, 2), ("ada 0", 3, 3))
    assert [(one.model_hash, one.data) for one in export.states] == [("a", b"ada"), ("b", b"ada")]


def test_deletion_affects_one_user_only(store):
    for user in ("ada", "bob"):
        store.append(user, entries(1, 2), idempotency_key="k")
        store.put_state(user, state(store.entries(user)))
    before = store.export("bob")
    done = store.delete("ada")
    assert (done.entries, done.states, done.idempotency_keys) == (2, 1, 1)
    assert store.export("ada") is None
    assert store.head("ada") is None
    assert store.entries("ada") == ()
    assert store.get_state("ada", MODEL) is None
    assert [head.user for head in store.users().users] == ["bob"]
    assert store.export("bob") == before
    again = store.delete("ada")
    assert again == Deleted(entries=0, states=0, idempotency_keys=0, scrubbed=again.scrubbed)


def test_deleted_user_can_start_again(store):
    store.append("ada", entries(1, 2), idempotency_key="k")
    store.delete("ada")
    assert store.append("ada", entries(3), idempotency_key="k").first_seq == 1
    assert [entry.body for entry in store.entries("ada")] == ['{"item": 3}']


def test_ping_answers(store):
    assert store.ping() is None


def test_log_never_exceeds_its_longest_length(store):
    store.append("ada", [ONE, ONE], longest=3)
    with pytest.raises(BadInputError, match="log of the user"):
        store.append("ada", [ONE, ONE], longest=3)
    assert store.head("ada").last_seq == 2
    first = store.append("ada", [ONE], idempotency_key="a", longest=3)
    assert store.append("ada", [ONE], idempotency_key="a", longest=3) == replace(first, repeated=True)
    with pytest.raises(BadInputError, match="log of the user"):
        store.append("bob", [ONE] * 4, longest=3)
    assert store.head("bob") is None


def test_states_of_several_users_are_stored_together(store):
    logs = {user: store.append(user, [ONE]) and store.entries(user) for user in ("ada", "bob", "eve")}
    store.put_state("eve", state(logs["eve"], data=b"newer"))
    other = state(logs["ada"], data=b"one")
    given = {
        "ada": other,
        "bob": replace(state(logs["bob"]), evidence_hash="0" * 64),
        "eve": state(logs["eve"], data=b"again"),
        "nobody": state(logs["ada"]),
    }
    store.put_states(given)
    assert store.get_state("ada", other.model_hash) == other
    assert store.get_state("bob", other.model_hash) is None
    assert store.get_state("eve", other.model_hash).data == b"newer"
    assert store.get_state("nobody", other.model_hash) is None
    store.put_states({})
