"""Users' states: the newest of each model is stored, and users that are behind are listed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, func, or_, select, tuple_

from warmprompt.store import tables
from warmprompt.store.contract import Page, Put, StatesProgress, StoredState
from warmprompt.store.logs import insert_or, page_of

users, entries, states = tables.users, tables.entries, tables.states

# Built once: building a statement costs more processor time than running it.
_STATE = (
    select(states)
    .join(users, users.c.no == states.c.user_no)
    .where(users.c.id == bindparam("user"), states.c.model_hash == bindparam("model"))
)


def get_state(connection: Connection, user: str, model_hash: str) -> StoredState | None:
    """Return a model's state of a user; see `Store.get_state`."""
    row = connection.execute(_STATE, {"user": user, "model": model_hash}).one_or_none()
    return None if row is None else stored(row)


def put(connection: Connection, user: str, state: StoredState) -> Put:
    """Store a state unless a newer one is stored; see `Store.put_state`."""
    rows = _rows(connection, {user: state})
    if not rows:
        return Put.REFUSED
    upsert = _upsert(connection).returning(states.c.seq)
    return Put.KEPT if connection.execute(upsert, rows[0]).first() is None else Put.STORED


def put_many(connection: Connection, given: Mapping[str, StoredState]) -> None:
    """Store states of several users; see `Store.put_states`."""
    rows = _rows(connection, given)
    if rows:
        connection.execute(_upsert(connection), rows)


def _rows(connection: Connection, given: Mapping[str, StoredState]) -> list[dict[str, Any]]:
    """Return the rows of those states that belong to their users' logs."""
    # The lock allows appends, but no deletion of a user before the state is stored.
    wanted = [(user, state.seq) for user, state in given.items()]
    query = (
        select(users.c.id, entries.c.user_no, entries.c.evidence)
        .join(users, users.c.no == entries.c.user_no)
        .where(tuple_(users.c.id, entries.c.seq).in_(wanted))
        .order_by(users.c.no)
        .with_for_update(of=users, read=True, key_share=True)
    )
    return [
        {
            "user_no": row.user_no,
            "model_hash": given[row.id].model_hash,
            "seq": given[row.id].seq,
            "evidence": row.evidence,
            "data": given[row.id].data,
        }
        for row in connection.execute(query)
        if row.evidence.hex() == given[row.id].evidence_hash
    ]


def _upsert(connection: Connection) -> Any:
    new = insert_or(connection, states)
    return new.on_conflict_do_update(
        index_elements=["user_no", "model_hash"],
        set_={name: new.excluded[name] for name in ("seq", "evidence", "data")},
        where=states.c.seq < new.excluded.seq,
    )


def behind(connection: Connection, model_hash: str, *, after: int, limit: int) -> Page:
    """Return users whose state is missing or behind; see `Store.behind`."""
    own = (states.c.user_no == users.c.no) & (states.c.model_hash == model_hash)
    query = (
        select(users)
        .outerjoin(states, own)
        .where(users.c.no > after, or_(states.c.seq.is_(None), states.c.seq < users.c.last_seq))
        .order_by(users.c.no)
        .limit(limit)
    )
    return page_of(connection.execute(query).all(), limit=limit)


def progress(connection: Connection, model_hash: str) -> StatesProgress:
    """Count users and current states; see `Store.progress`."""
    all_users = select(func.count()).select_from(users)
    current = (
        select(func.count())
        .select_from(states)
        .join(users, users.c.no == states.c.user_no)
        .where(states.c.model_hash == model_hash, states.c.seq == users.c.last_seq)
    )
    return StatesProgress(
        users=connection.execute(all_users).scalar_one(),
        current=connection.execute(current).scalar_one(),
    )


def drop(connection: Connection, *, keep: Iterable[str], limit: int) -> int:
    """Delete states of other models; see `Store.drop_states`."""
    own = (states.c.user_no, states.c.model_hash)
    others = select(*own).where(states.c.model_hash.not_in(sorted(set(keep)))).limit(limit)
    found = [tuple(row) for row in connection.execute(others)]
    if found:
        connection.execute(delete(states).where(tuple_(*own).in_(found)))
    return len(found)


def stored(row: Row[Any]) -> StoredState:
    """Return a row of the table of states."""
    return StoredState(
        model_hash=row.model_hash,
        seq=row.seq,
        evidence_hash=row.evidence.hex(),
        data=bytes(row.data),
    )
