"""Users' logs: append, read, page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.store import tables
from warmprompt.store.contract import (
    Appended,
    Entry,
    Head,
    Page,
    StoredEntry,
)
from warmprompt.store.evidence import NO_EVIDENCE, evidence_after

users, entries, appends = tables.users, tables.entries, tables.appends

# Built once: building a statement costs more processor time than running it.
_USER = select(users).where(users.c.id == bindparam("user"))
_LOCKED = _USER.with_for_update(key_share=True)
_ENTRIES = (
    select(entries)
    .join(users, users.c.no == entries.c.user_no)
    .where(users.c.id == bindparam("user"), entries.c.seq > bindparam("after"))
    .order_by(entries.c.seq)
)
_ADD_ENTRIES = insert(entries)
_MOVE_END = (
    update(users)
    .where(users.c.no == bindparam("user_no"))
    .values(last_seq=bindparam("seq"), evidence=bindparam("end"))
)


def append(
    connection: Connection,
    user: str,
    added: Sequence[Entry],
    *,
    idempotency_key: str | None,
    longest: int | None,
    now_s: int,
) -> Appended:
    """Add entries to a user's log; see `Store.append`."""
    row = _locked(connection, user, now_s=now_s)
    if idempotency_key is not None:
        earlier = _earlier(connection, row.no, added, idempotency_key)
        if earlier is not None:
            return earlier
    if longest is not None and row.last_seq + len(added) > longest:
        raise BadInputError(
            field="log of the user",
            value=row.last_seq,
            remedy=f"It may have {longest} entries; delete the user to start again.",
        )
    seq, evidence = row.last_seq, row.evidence.hex()
    rows = []
    for entry in added:
        seq, evidence = seq + 1, evidence_after(evidence, entry)
        rows.append(
            {
                "user_no": row.no,
                "seq": seq,
                "kind": entry.kind,
                "body": entry.body,
                "evidence": bytes.fromhex(evidence),
                "time_s": now_s,
            }
        )
    connection.execute(_ADD_ENTRIES, rows)
    connection.execute(_MOVE_END, {"user_no": row.no, "seq": seq, "end": bytes.fromhex(evidence)})
    if idempotency_key is not None:
        named = {"user_no": row.no, "idempotency_key": idempotency_key}
        connection.execute(insert(appends), [named | {"first_seq": row.last_seq + 1, "last_seq": seq}])
    return Appended(first_seq=row.last_seq + 1, last_seq=seq, evidence_hash=evidence, repeated=False)


def read_entries(
    connection: Connection, user: str, *, after: int, limit: int | None
) -> tuple[StoredEntry, ...]:
    """Return a user's entries after a number; see `Store.entries`."""
    query = _ENTRIES if limit is None else _ENTRIES.limit(limit)
    return tuple(recorded(row) for row in connection.execute(query, {"user": user, "after": after}))


def head(connection: Connection, user: str) -> Head | None:
    """Return the end of a user's log; see `Store.head`."""
    row = connection.execute(_USER, {"user": user}).one_or_none()
    return None if row is None else _head(row)


def heads(connection: Connection, wanted: Sequence[str]) -> tuple[Head, ...]:
    """Return the ends of several users' logs; see `Store.heads`."""
    query = select(users).where(users.c.id.in_(wanted))
    return tuple(_head(row) for row in connection.execute(query))


def page(connection: Connection, *, after: int, limit: int) -> Page:
    """Return a page of users; see `Store.users`."""
    query = select(users).where(users.c.no > after).order_by(users.c.no).limit(limit)
    return page_of(connection.execute(query).all(), limit=limit)


def page_of(rows: Sequence[Row[Any]], *, limit: int) -> Page:
    """Return rows of the table of users as a page."""
    return Page(
        users=tuple(_head(row) for row in rows),
        next=rows[-1].no if len(rows) == limit else None,
    )


def insert_or(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """Return an insert with support for conflicts, in the database's own dialect."""
    own = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    made: postgresql.Insert | sqlite.Insert = own(table)
    return made


def _locked(connection: Connection, user: str, *, now_s: int) -> Row[Any]:
    """Return the user's row, created if missing, locked against other appends and deletion."""
    blank = {"id": user, "last_seq": 0, "evidence": bytes.fromhex(NO_EVIDENCE), "first_seen_s": now_s}
    while True:
        row = connection.execute(_LOCKED, {"user": user}).one_or_none()
        if row is not None:
            return row
        # Another process may create the user meanwhile, or delete it before the next query.
        make = insert_or(connection, users).on_conflict_do_nothing(index_elements=["id"])
        row = connection.execute(make.returning(users), blank).one_or_none()
        if row is not None:
            return row


def _earlier(
    connection: Connection, user_no: int, added: Sequence[Entry], idempotency_key: str
) -> Appended | None:
    """Return what the same append did the first time, None where the key is new."""
    named = select(appends).where(appends.c.user_no == user_no, appends.c.idempotency_key == idempotency_key)
    use = connection.execute(named).one_or_none()
    if use is None:
        return None
    within = entries.c.seq.between(use.first_seq, use.last_seq)
    query = select(entries).where(entries.c.user_no == user_no, within).order_by(entries.c.seq)
    then = [recorded(row) for row in connection.execute(query)]
    if [(one.kind, one.body) for one in then] != [(one.kind, one.body) for one in added]:
        raise MismatchError(
            field="idempotency key",
            value=idempotency_key,
            remedy="This user's key was used with other entries; give each append its own.",
        )
    return Appended(
        first_seq=use.first_seq,
        last_seq=use.last_seq,
        evidence_hash=then[-1].evidence_hash,
        repeated=True,
    )


def recorded(row: Row[Any]) -> StoredEntry:
    """Return a row of the table of entries."""
    return StoredEntry(
        seq=row.seq,
        kind=row.kind,
        body=row.body,
        evidence_hash=row.evidence.hex(),
        time_s=row.time_s,
    )


def _head(row: Row[Any]) -> Head:
    return Head(user=row.id, last_seq=row.last_seq, evidence_hash=row.evidence.hex())
