"""Any order of calls leaves the store as it leaves a plain dictionary."""

import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from warmprompt.errors import MismatchError
from warmprompt.store.contract import Entry, Put, StoredState
from warmprompt.store.opening import open_store

USERS = st.sampled_from(["ada", "bob", "żółw"])
BODIES = st.lists(st.sampled_from(["{}", "1", "é"]), min_size=1, max_size=3)
KEYS = st.sampled_from([None, "k1", "k2"])
MODELS = st.sampled_from(["old", "new"])


def evidence(log):
    digest = hashlib.sha256(b"warmprompt log 1").digest()
    for body in log:
        digest = hashlib.sha256(digest + b"\0\0\0\x05event" + body.encode()).digest()
    return digest.hex()


def machine_of(store):  # noqa: C901  (one machine, all its rules)
    class Machine(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            for user in ("ada", "bob", "żółw"):
                store.delete(user)
            self.logs, self.keys, self.states = {}, {}, {}

        @rule(user=USERS, bodies=BODIES, key=KEYS)
        def append(self, user, bodies, key):
            entries = [Entry(kind="event", body=body) for body in bodies]
            used = self.keys.get((user, key))
            if used and used[0] != bodies:
                with pytest.raises(MismatchError):
                    store.append(user, entries, idempotency_key=key)
                return
            done = store.append(user, entries, idempotency_key=key)
            if used:
                assert (done.first_seq, done.last_seq, done.repeated) == (*used[1:], True)
                return
            log = self.logs.setdefault(user, [])
            log += bodies
            assert (done.first_seq, done.last_seq) == (len(log) - len(bodies) + 1, len(log))
            assert not done.repeated
            if key:
                self.keys[user, key] = (bodies, done.first_seq, done.last_seq)

        @rule(user=USERS, model=MODELS, seq=st.integers(1, 5), data=st.binary(max_size=3), own=st.booleans())
        def put_state(self, user, model, seq, data, own):
            log = self.logs.get(user, [])
            hashed = evidence(log[:seq] if own else ["other"])
            done = store.put_state(
                user, StoredState(model_hash=model, seq=seq, evidence_hash=hashed, data=data)
            )
            stored = self.states.get((user, model), (0, b""))
            if seq > len(log) or not own:
                assert done is Put.REFUSED
            elif stored[0] >= seq:
                assert done is Put.KEPT
            else:
                assert done is Put.STORED
                self.states[user, model] = (seq, data)

        @rule(user=USERS)
        def delete(self, user):
            done = store.delete(user)
            assert done.entries == len(self.logs.pop(user, []))
            for rows, count in ((self.keys, done.idempotency_keys), (self.states, done.states)):
                mine = [one for one in rows if one[0] == user]
                assert count == len(mine)
                for one in mine:
                    del rows[one]

        @rule(model=MODELS)
        def drop_other_states(self, model):
            others = [one for one in self.states if one[1] != model]
            assert store.drop_states(keep=[model]) == len(others)
            for one in others:
                del self.states[one]

        @invariant()
        def same(self):
            assert {head.user for head in store.users().users} == set(self.logs)
            for user, log in self.logs.items():
                export = store.export(user)
                assert [(one.seq, one.body) for one in export.entries] == list(enumerate(log, start=1))
                assert store.head(user).evidence_hash == evidence(log)
                assert {one.model_hash: (one.seq, one.data) for one in export.states} == {
                    model: state for (owner, model), state in self.states.items() if owner == user
                }
            for model in ("old", "new"):
                current = {
                    user for user, log in self.logs.items()
                    if self.states.get((user, model), (0,))[0] == len(log)
                }  # fmt: skip
                assert {head.user for head in store.behind(model).users} == set(self.logs) - current
                assert store.progress(model).current == len(current)

    return Machine


def test_store_behaves_like_a_dictionary(url):
    with open_store(url, scrub_up_to_bytes=0) as store:
        run_state_machine_as_test(
            machine_of(store), settings=settings(max_examples=12, stateful_step_count=15)
        )
