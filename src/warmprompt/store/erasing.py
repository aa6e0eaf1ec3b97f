"""Export and deletion of a user, without leaving bytes in the files.

SQLite overwrites deleted rows (`secure_delete`). It does not overwrite the copies that rows leave on a page
when the page is split or merged and they move to its neighbour. Only rewriting the file removes those. So
each deletion increments the file's `user_version`, in the same transaction, and scrubbing rewrites the file.
"""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from warmprompt.store import tables
from warmprompt.store.contract import Deleted, Export
from warmprompt.store.database import Database
from warmprompt.store.faults import translated_errors
from warmprompt.store.logs import recorded
from warmprompt.store.states import stored

users, entries, appends, states = tables.users, tables.entries, tables.appends, tables.states


def export(connection: Connection, user: str) -> Export | None:
    """Return everything stored about a user; see `Store.export`."""
    row = connection.execute(select(users).where(users.c.id == user)).one_or_none()
    if row is None:
        return None
    log = select(entries).where(entries.c.user_no == row.no).order_by(entries.c.seq)
    keys = select(appends).where(appends.c.user_no == row.no).order_by(appends.c.first_seq)
    user_states = select(states).where(states.c.user_no == row.no)
    return Export(
        user=user,
        first_seen_s=row.first_seen_s,
        entries=tuple(recorded(one) for one in connection.execute(log)),
        idempotency_keys=tuple(
            (one.idempotency_key, one.first_seq, one.last_seq) for one in connection.execute(keys)
        ),
        states=tuple(
            sorted((stored(one) for one in connection.execute(user_states)), key=lambda one: one.model_hash)
        ),
    )


def erase(connection: Connection, user: str) -> Deleted:
    """Delete everything about a user from the tables; nothing is scrubbed yet."""
    row = connection.execute(select(users).where(users.c.id == user).with_for_update()).one_or_none()
    counts = [0, 0, 0]
    if row is not None:
        for index, table in enumerate((entries, states, appends)):
            counts[index] = connection.execute(delete(table).where(table.c.user_no == row.no)).rowcount
        connection.execute(delete(users).where(users.c.no == row.no))
        if connection.dialect.name == "sqlite":
            due = _pragma(connection, "user_version")
            connection.exec_driver_sql(f"PRAGMA user_version = {due + 1}")
    return Deleted(entries=counts[0], states=counts[1], idempotency_keys=counts[2], scrubbed=False)


def scrub(database: Database, *, up_to_bytes: int | None = None) -> bool:
    """Rewrite a SQLite file from which something was deleted; see `Store.scrub`.

    Args:
        database: The database; nothing is done to PostgreSQL.
        up_to_bytes: Leave a larger file as it is and return False.
    """
    if database.group_commit is None:
        return False
    with (
        translated_errors(database.address),
        database.group_commit.alone(),
        database.reading.connect() as connection,
    ):
        due = _pragma(connection, "user_version")
        size = _pragma(connection, "page_count") * _pragma(connection, "page_size")
        if due == 0 or (up_to_bytes is not None and size > up_to_bytes):
            return due == 0
        connection.exec_driver_sql("VACUUM")
        if _pragma(connection, "wal_checkpoint(TRUNCATE)") != 0:
            return False
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        later = _pragma(connection, "user_version") - due  # deletions meanwhile
        connection.exec_driver_sql(f"PRAGMA user_version = {later}")
        connection.exec_driver_sql("COMMIT")
        return later == 0


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").all()[0][0])
