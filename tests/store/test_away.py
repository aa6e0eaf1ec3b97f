"""The database goes away while a store is open, and comes back."""

import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from warmprompt.errors import BadInputError, DatabaseAwayError, IntegrityError, StorageError
from warmprompt.store.contract import Entry
from warmprompt.store.opening import open_store

ONE = [Entry(kind="event", body="{}")]


def calls(store):
    return [
        lambda: store.append("ada", ONE),
        lambda: store.entries("ada"),
        lambda: store.head("ada"),
        lambda: store.export("ada"),
        lambda: store.delete("ada"),
        store.items,
        store.ping,
    ]


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_stopped_server_recovers_without_reopening(own_server, how):
    with open_store(own_server.url) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: store.append(how, ONE), range(8)))  # several connections are open
        own_server.stop(how=how)
        for call in calls(store):
            started = time.monotonic()
            with pytest.raises(DatabaseAwayError, match="Nothing has to be restarted"):
                call()
            assert time.monotonic() - started < 10
        own_server.start()
        list(pool.map(lambda _: store.append(how, ONE), range(8)))
        assert store.head(how).last_seq == 16


def test_cut_connections_are_replaced(server, shared_database):
    with open_store(shared_database) as store:
        store.delete("cut")
        for _ in range(3):
            store.append("cut", ONE)
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'shared'")
        assert store.head("cut").last_seq == 3


def test_unreachable_server_at_opening_is_bad_input():
    with pytest.raises(BadInputError, match="Start it or correct the address") as caught:
        open_store("postgresql://me:secret@127.0.0.1:1/name")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_messages_contain_no_password():
    with pytest.raises(BadInputError) as caught:
        open_store("mysql://me:secret@host/name")
    assert "secret" not in str(caught.value)


def test_locked_file_is_away_until_free(tmp_path):
    file = tmp_path / "users.db"
    with open_store(f"sqlite:///{file}", busy_s=0.1) as store:
        store.append("ada", ONE)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseAwayError, match="keeps it locked"):
            store.append("ada", ONE)
        assert len(store.entries("ada")) == 1  # readers do not wait
        other.execute("COMMIT")
        other.close()
        assert store.append("ada", ONE).last_seq == 2


def test_full_disk_is_reported_without_partial_write(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/users.db") as store:
        store.append("ada", ONE)
        with store.database.engine.begin() as connection:
            # The limit holds for the one connection that is in the pool.
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StorageError, match="disk is full"):
            store.append("ada", [Entry(kind="event", body="x" * 60_000)])
        assert store.head("ada").last_seq == 1


def test_threads_share_connections_without_starving(url):
    with open_store(url, num_connections=2) as store, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda number: store.append(f"user {number % 3}", ONE), range(60)))
        assert sum(head.last_seq for head in store.users().users) == 60


def test_exhausted_pool_is_an_error(url):
    with open_store(url, num_connections=1, busy_s=0.3) as store:
        entered, leave = threading.Event(), threading.Event()

        def hold(connection):
            entered.set()
            leave.wait(30)

        holder = threading.Thread(target=store.database.read, args=(hold,))
        holder.start()
        entered.wait(30)
        with pytest.raises(DatabaseAwayError, match="connections are in use"):
            store.head("ada")
        leave.set()
        holder.join()
        assert store.head("ada") is None


@pytest.fixture
def file(tmp_path):
    return tmp_path / "users.db"


@pytest.fixture
def opened(file):
    with open_store(f"sqlite:///{file}") as store:
        store.append("ada", ONE)
        yield store


def test_deleted_file_is_away(opened, file):
    """Open connections could go on reading and writing the file that has no name any more."""
    file.unlink()
    for call in calls(opened):
        with pytest.raises(DatabaseAwayError, match="deleted or replaced"):
            call()
    assert not file.exists()


def test_replaced_file_is_away_until_put_back(opened, file):
    kept = file.with_name("kept.db")
    file.rename(kept)
    shutil.copy(kept, file)
    for call in calls(opened):
        with pytest.raises(DatabaseAwayError, match="deleted or replaced"):
            call()
    kept.replace(file)
    assert opened.append("ada", ONE).last_seq == 2


def test_commit_to_file_deleted_meanwhile_does_not_count(opened, file):
    def work(connection):
        file.unlink()
        return "done"

    with pytest.raises(DatabaseAwayError, match="deleted or replaced"):
        opened.database.write(work)


def test_deleted_write_ahead_log_is_away(opened, file):
    file.with_name(file.name + "-wal").unlink()
    with pytest.raises(DatabaseAwayError, match="deleted or replaced"):
        opened.append("ada", ONE)


def test_lost_tables_are_reported(opened):
    other = sqlite3.connect(opened.database.file)
    other.execute("DROP TABLE warmprompt_entries")
    other.close()
    with pytest.raises(IntegrityError, match="tables are missing"):
        opened.entries("ada")


@pytest.mark.parametrize(
    ("refuse", "allow"),
    [("query_only = ON", "query_only = OFF"), ("max_page_count = 1", "max_page_count = 1000000")],
)
def test_refused_write_fails_the_ping_until_allowed(file, refuse, allow):
    """The pragmas hold for the one connection of the pool; the second one allows no further page."""
    with open_store(f"sqlite:///{file}", num_connections=1) as store:
        with store.database.reading.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA {refuse}")
        store.ping()
        with pytest.raises(StorageError):
            store.append("ada", [Entry(kind="event", body="x" * 60_000)])
        if "query_only" in refuse:
            with pytest.raises(StorageError):
                store.ping()
        with store.database.reading.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA {allow}")
        store.ping()
        assert not store.database.refused.is_set()
        assert store.append("ada", ONE).last_seq == 1
