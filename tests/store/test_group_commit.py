"""Group commit: waiting writers share a flush, get their own results, and fail alone."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import event, text

from warmprompt.errors import DatabaseAwayError, MismatchError
from warmprompt.store.contract import Entry
from warmprompt.store.opening import open_store

ONE = [Entry(kind="event", body="{}")]


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/users.db", busy_s=60) as opened:
        yield opened


def all_at_once(store, works):
    """Let writers gather behind one that holds the lock; return (outcomes in order, commits they took)."""
    commits = []
    note = lambda connection: commits.append(connection)  # noqa: E731, PLW0108 - found by identity
    with ThreadPoolExecutor(len(works)) as pool:
        with store.database.group_commit.alone():
            futures = [pool.submit(work) for work in works]
            while len(store.database.group_commit.queue) < len(works):
                time.sleep(0.001)
            event.listen(store.database.engine, "commit", note)
        outcomes = [future.exception() or future.result() for future in futures]
    event.remove(store.database.engine, "commit", note)
    return outcomes, len(commits)


def test_waiting_writers_share_one_commit(store):
    works = [lambda number=number: store.append(f"user {number % 3}", ONE) for number in range(12)]
    answers, commits = all_at_once(store, works)
    assert commits == 1
    for user in range(3):
        assert sorted(one.last_seq for one in answers[user::3]) == [1, 2, 3, 4]
        assert [entry.seq for entry in store.entries(f"user {user}")] == [1, 2, 3, 4]


def test_refused_write_is_undone_alone(store):
    store.append("ada", ONE, idempotency_key="k")
    other = [Entry(kind="event", body='{"item": 1}')]

    def half(connection):
        connection.execute(text("UPDATE warmprompt_users SET last_seq = 99"))
        raise ValueError("after it wrote")

    outcomes, commits = all_at_once(
        store,
        [
            lambda: store.append("ada", ONE),
            lambda: store.append("ada", other, idempotency_key="k"),
            lambda: store.database.write(half),
            lambda: store.append("ada", ONE),
        ],
    )
    assert commits == 1
    assert [type(one) for one in outcomes[1:3]] == [MismatchError, ValueError]
    assert sorted([outcomes[0].last_seq, outcomes[3].last_seq]) == [2, 3]
    assert store.head("ada").last_seq == 3


def test_database_refusal_leaves_other_writes(store):
    outcomes, commits = all_at_once(
        store,
        [
            lambda: store.append("ada", ONE),
            lambda: store.database.write(lambda connection: connection.execute(text("NO SQL AT ALL"))),
            lambda: store.append("ada", ONE),
        ],
    )
    assert commits == 2
    assert sorted([outcomes[0].last_seq, outcomes[2].last_seq]) == [1, 2]
    assert "syntax error" in str(outcomes[1])
    assert store.head("ada").last_seq == 2


def test_uncommitted_write_is_not_reported_done(store, monkeypatch):
    def lost(_connection):
        raise RuntimeError("power is gone")

    event.listen(store.database.engine, "commit", lost)
    outcomes, _ = all_at_once(store, [lambda: store.append("ada", ONE)] * 3)
    event.remove(store.database.engine, "commit", lost)
    assert [str(one) for one in outcomes] == ["power is gone"] * 3
    assert store.head("ada") is None
    assert store.append("ada", ONE).last_seq == 1


def test_timed_out_write_never_runs(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/users.db", busy_s=0.05) as store:
        locked, leave = threading.Event(), threading.Event()

        def hold():
            with store.database.group_commit.alone():
                locked.set()
                leave.wait(30)

        holder = threading.Thread(target=hold)
        holder.start()
        locked.wait(30)
        with pytest.raises(DatabaseAwayError, match="Too many writers"):
            store.append("ada", ONE)
        leave.set()
        holder.join()
        assert store.append("bob", ONE).last_seq == 1
        assert store.head("ada") is None
