"""Writers killed with SIGKILL, and a server that crashes: nothing acknowledged is lost or doubled."""

import random

import pytest
from store_killing import finish, kill_round, start
from store_writer import MODEL, check, derived

from warmprompt.errors import MismatchError
from warmprompt.store.contract import Entry
from warmprompt.store.opening import open_store
from warmprompt.store.rebuilding import rebuild_states


def rebuild(store):
    return list(
        rebuild_states(store, lambda users: [derived(log) for _, log in users], model_hash=MODEL, num_users=2)
    )


def test_kills_lose_or_double_nothing(url):
    acknowledged = []
    for number in range(2):
        acknowledged += kill_round(url, str(number), rng=random.Random(number))
        with open_store(url) as store:
            num_acknowledged, found, _ = check(store, acknowledged)
            # What was written but not yet acknowledged is at most the one append each writer was at.
            assert num_acknowledged <= found <= num_acknowledged + 2 * (number + 1)
    with open_store(url) as store:
        rebuild(store)
        done = store.progress(MODEL)
        assert done.current == done.users > 0
        assert check(store, acknowledged)[2] == done.users
        # A writer that begins again repeats its last append: the first time counts.
        user, key, first, last = acknowledged[-1]
        bodies = [entry.body for entry in store.entries(user, after=first - 1, limit=last - first + 1)]
        again = [Entry(kind="event", body=body) for body in bodies]
        assert store.append(user, again, idempotency_key=key).repeated
        with pytest.raises(MismatchError):
            store.append(user, [Entry(kind="event", body="other")], idempotency_key=key)
        check(store, acknowledged)


def test_server_crash_loses_nothing_acknowledged(own_server):
    url = own_server.new_database("crash")
    acknowledged = kill_round(
        url, "crash", rng=random.Random(3), crash=lambda: own_server.stop(how="immediate")
    )
    own_server.start()
    with open_store(url) as store:
        num_acknowledged, found, _ = check(store, acknowledged)
        assert num_acknowledged <= found <= num_acknowledged + 2


def test_two_writers_of_a_user_converge(url):
    writers = [start(url, name, num_users=1, num_appends=25) for name in ("a", "b")]
    acknowledged = [line for writer in writers for line in finish(writer, kill=False)]
    assert len(acknowledged) == 50
    with open_store(url) as store:
        assert check(store, acknowledged) == (50, 50, 1)
        log = store.entries("user 0")
        assert len(log) == 2 * (13 + 2 * 12)  # 13 even numbers bring one entry, 12 odd ones two
        state = store.get_state("user 0", MODEL)
        assert state.seq == len(log)
        assert state.data == derived(log)
