"""What is deleted is in no byte of the files that SQLite keeps."""

import random
import sqlite3

import pytest
from sqlalchemy import event

from warmprompt.errors import BadInputError
from warmprompt.store.contract import Entry, StoredState
from warmprompt.store.opening import open_store


def bytes_of(folder):
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def marker(kind, user, life):
    return f"<{kind} of {user} in life {life}>"


def live(store, rng, user, life):
    """Write a little about a user: short and long entries, a key and a state, all of them marked."""
    body = marker("body", user, life) + "b" * rng.choice([0, 80, 80, 700, 5000])
    entries = [Entry(kind="event", body=body)] * rng.choice([1, 1, 5])
    key = marker("key", user, life) + str(rng.random())
    done = store.append(f"{user} {marker('id', user, life)}", entries, idempotency_key=key)
    store.put_state(
        f"{user} {marker('id', user, life)}",
        StoredState(
            model_hash="m",
            seq=done.last_seq,
            evidence_hash=done.evidence_hash,
            data=marker("state", user, life).encode() * rng.choice([2, 300]),
        ),
    )


def test_deletion_leaves_no_bytes_in_files(tmp_path):
    rng = random.Random(0)
    lives = dict.fromkeys(range(60), 0)
    gone = []
    url = f"sqlite:///{tmp_path}/users.db"
    # Users come, grow and go in any order, so pages split and merge and rows move between them.
    with open_store(url, scrub_up_to_bytes=0) as store:
        # Nothing is to be seen of the disk here: flushing would only take time.
        event.listen(
            store.database.engine,
            "checkout",
            lambda raw, *_: raw.execute("PRAGMA synchronous = OFF"),
        )
        for _ in range(700):
            user = rng.randrange(60)
            live(store, rng, user, lives[user])
            if rng.random() < 0.05:
                store.delete(f"{user} {marker('id', user, lives[user])}")
                gone += [marker(kind, user, lives[user]) for kind in ("id", "body", "key", "state")]
                lives[user] += 1
        assert len(gone) > 80
        last = marker("id", user, lives[user])
        assert last.encode() in bytes_of(tmp_path)
        assert store.scrub()
        files = bytes_of(tmp_path)
        assert [trace for trace in gone if trace.encode() in files] == []
        assert last.encode() in files
        assert store.head(f"{user} {last}") is not None


def test_small_file_is_scrubbed_at_once(tmp_path):
    rng = random.Random(1)
    with open_store(f"sqlite:///{tmp_path}/users.db") as store:
        live(store, rng, "ada", 0)
        live(store, rng, "bob", 0)
        assert store.delete(f"ada {marker('id', 'ada', 0)}").scrubbed
        assert b"ada" not in bytes_of(tmp_path)
        assert marker("body", "bob", 0).encode() in bytes_of(tmp_path)


def test_large_file_is_left_to_scrub(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/users.db", scrub_up_to_bytes=1000) as store:
        live(store, random.Random(2), "ada", 0)
        assert not store.delete(f"ada {marker('id', 'ada', 0)}").scrubbed
        assert not store.delete("nobody").scrubbed
        assert store.scrub()
        assert store.delete("nobody").scrubbed


def test_open_reader_postpones_scrubbing(tmp_path):
    file = tmp_path / "users.db"
    with open_store(f"sqlite:///{file}", busy_s=0.2) as store:
        live(store, random.Random(3), "ada", 0)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM warmprompt_users").fetchone() == (1,)
        assert not store.delete(f"ada {marker('id', 'ada', 0)}").scrubbed
        assert store.users().users == ()
        other.execute("COMMIT")
        assert store.scrub()
        assert b"ada" not in bytes_of(tmp_path)
        other.close()


def test_opening_finishes_an_interrupted_scrub(tmp_path):
    url = f"sqlite:///{tmp_path}/users.db"
    with open_store(url, scrub_up_to_bytes=0) as store:
        live(store, random.Random(4), "ada", 0)
        store.delete(f"ada {marker('id', 'ada', 0)}")
    with open_store(url):
        pass
    connection = sqlite3.connect(tmp_path / "users.db")
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()
    assert b"ada" not in bytes_of(tmp_path)


def test_postgresql_reports_no_scrubbing(shared_database):
    with open_store(shared_database) as store:
        store.append("ada", [Entry(kind="event", body="{}")])
        assert not store.delete("ada").scrubbed
        assert not store.scrub()


def test_file_is_private_to_its_owner(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/new/users.db") as store:
        store.append("ada", [Entry(kind="event", body="{}")])
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
    assert set(modes) >= {"users.db", "users.db-wal"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "url",
    [
        "",
        "users.db",
        "sqlite://",
        "sqlite:///:memory:",
        "mysql://host/name",
        "sqlite:///a.db?mode=ro",
        7,
        None,
    ],
)
def test_invalid_address_is_refused(url):
    with pytest.raises(BadInputError, match="sqlite:///users.db"):
        open_store(url)
