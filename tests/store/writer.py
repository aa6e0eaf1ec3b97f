"""A process that writes to a store until it is killed, and prints what was acknowledged.

    python writer.py URL NAME USERS COUNT

Appends to users 0 .. USERS - 1 in turn, each time with a key and body of its own, and puts the state that the
log gives; writes one line for each acknowledged append, after it. COUNT 0 is without end.
"""

import hashlib
import json
import sys
from itertools import count

from warmprompt.errors import DatabaseAwayError
from warmprompt.store.contract import Entry, StoredState
from warmprompt.store.opening import open_store

MODEL = "m"


def derived(log):
    """Return a state as a model would: from the whole log, and of a realistic size."""
    digest = hashlib.sha256("\n".join(entry.body for entry in log).encode()).digest()
    return digest * 288


def write(url, name, num_users, num_appends):
    with open_store(url, busy_s=60) as store:
        for number in count() if num_appends == 0 else range(num_appends):
            user, key = f"user {number % num_users}", f"{name} {number}"
            entries = [Entry(kind="event", body=json.dumps([key, part])) for part in range(1 + number % 2)]
            try:
                done = store.append(user, entries, idempotency_key=key)
                sys.stdout.write(json.dumps([user, key, done.first_seq, done.last_seq]) + "\n")
                sys.stdout.flush()
                log = store.entries(user)
                store.put_state(user, state_of(log))
            except DatabaseAwayError:
                continue


def state_of(log):
    last = log[-1]
    return StoredState(model_hash=MODEL, seq=last.seq, evidence_hash=last.evidence_hash, data=derived(log))


def check(store, acknowledged):
    """Raise AssertionError where the store breaks its word; return (acknowledged, found, states) counted."""
    places = {}
    counts = [len(acknowledged), 0, 0]
    after = 0
    while after is not None:
        page = store.users(after=after)
        after = page.next
        for head in page.users:
            log = store.entries(head.user)
            assert [entry.seq for entry in log] == list(range(1, head.last_seq + 1)), "a gap"
            digest = hashlib.sha256(b"warmprompt log 1").digest()
            for entry in log:
                body = entry.body.encode()
                digest = hashlib.sha256(
                    digest + len(entry.kind).to_bytes(4, "big") + b"event" + body
                ).digest()
                assert entry.evidence_hash == digest.hex(), "the chain is broken"
                key, part = json.loads(entry.body)
                assert (head.user, key, part) not in places, f"doubled: {key}"
                places[head.user, key, part] = entry.seq
            assert head.evidence_hash == digest.hex()
            state = store.get_state(head.user, MODEL)
            if state is not None:
                assert state.data == derived(log[: state.seq]), "a state differs from its rebuild"
                counts[2] += 1
    for user, key, first, last in acknowledged:
        found = [places.get((user, key, part)) for part in range(last - first + 1)]
        assert found == list(range(first, last + 1)), f"lost: {key}"
    counts[1] = len({(user, key) for user, key, _ in places})
    return tuple(counts)


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
