"""Items added at run time, items hidden, and API keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, select, update

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.store import tables
from warmprompt.store.contract import ApiKey, Item, ItemChanges
from warmprompt.store.logs import insert_or

items, items_version, api_keys = tables.items, tables.items_version, tables.api_keys
hidden_items = tables.hidden_items

_CHUNK = 500


def put_items(connection: Connection, new_items: Sequence[Item]) -> int:
    """Add or replace items; see `Store.put_items`."""
    version: int = connection.execute(select(items_version.c.version).with_for_update()).scalar_one()
    stored: dict[str, str] = {}
    for start in range(0, len(new_items), _CHUNK):
        ids = [item.id for item in new_items[start : start + _CHUNK]]
        rows = connection.execute(select(items.c.id, items.c.body).where(items.c.id.in_(ids)))
        stored |= {row.id: row.body for row in rows}
    changed = [item for item in new_items if stored.get(item.id) != item.body]
    if not changed:
        return version
    new = insert_or(connection, items)
    upsert = new.on_conflict_do_update(
        index_elements=["id"], set_={"body": new.excluded.body, "version": new.excluded.version}
    )
    connection.execute(
        upsert, [{"id": item.id, "body": item.body, "version": version + 1} for item in changed]
    )
    connection.execute(update(items_version).values(version=version + 1))
    return version + 1


def write_same_version(connection: Connection) -> None:
    """Write the version that is stored already: changes nothing, and fails where nothing can be written."""
    connection.execute(update(items_version).values(version=items_version.c.version))


def hide_items(connection: Connection, ids: Sequence[str], *, hidden: bool) -> int:
    """Hide items or show them again; see `Store.hide_items`."""
    version: int = connection.execute(select(items_version.c.version).with_for_update()).scalar_one()
    already: set[str] = set()
    for start in range(0, len(ids), _CHUNK):
        some = hidden_items.c.id.in_(ids[start : start + _CHUNK])
        rows = connection.execute(select(hidden_items.c.id).where(some, hidden_items.c.is_hidden))
        already |= {row.id for row in rows}
    changed = [one for one in dict.fromkeys(ids) if (one in already) != hidden]
    if not changed:
        return version
    new = insert_or(connection, hidden_items)
    upsert = new.on_conflict_do_update(
        index_elements=["id"], set_={"is_hidden": new.excluded.is_hidden, "version": new.excluded.version}
    )
    new_rows = [{"id": one, "is_hidden": hidden, "version": version + 1} for one in changed]
    connection.execute(upsert, new_rows)
    connection.execute(update(items_version).values(version=version + 1))
    return version + 1


def changes(connection: Connection, *, since: int) -> ItemChanges:
    """Return the changes after a version; see `Store.items`."""
    version = connection.execute(select(items_version.c.version)).scalar_one()
    if version == since:
        return ItemChanges(version=version, items=())
    query = select(items).where(items.c.version > since)
    rows = sorted(connection.execute(query), key=lambda row: (row.version, row.id))
    hiding = connection.execute(select(hidden_items).where(hidden_items.c.version > since)).all()
    return ItemChanges(
        version=version,
        items=tuple(Item(id=row.id, body=row.body) for row in rows),
        hidden=tuple(sorted(row.id for row in hiding if row.is_hidden)),
        shown=tuple(sorted(row.id for row in hiding if not row.is_hidden)),
    )


def add_api_key(connection: Connection, key: ApiKey) -> None:
    """Store a key; see `Store.add_api_key`."""
    same = (api_keys.c.name == key.name) | (api_keys.c.key_hash == key.key_hash)
    if connection.execute(select(api_keys.c.name).where(same)).first() is not None:
        raise _taken(key)
    values = {
        "name": key.name,
        "key_hash": key.key_hash,
        "scopes": " ".join(sorted(key.scopes)),
        "created_s": key.created_s,
        "revoked_s": key.revoked_s,
    }
    # Another process may add the same one between the look and here.
    new = insert_or(connection, api_keys).values(values).on_conflict_do_nothing().returning(api_keys.c.name)
    if connection.execute(new).first() is None:
        raise _taken(key)


def find_api_key(connection: Connection, key_hash: str) -> ApiKey | None:
    """Return the key with a hash; see `Store.find_api_key`."""
    row = connection.execute(select(api_keys).where(api_keys.c.key_hash == key_hash)).one_or_none()
    return None if row is None else _api_key(row)


def list_api_keys(connection: Connection) -> tuple[ApiKey, ...]:
    """Return all keys by name; see `Store.api_keys`."""
    found = [_api_key(row) for row in connection.execute(select(api_keys))]
    return tuple(sorted(found, key=lambda key: key.name))


def revoke_api_key(connection: Connection, name: str, *, now_s: int) -> ApiKey:
    """Mark a key as revoked; see `Store.revoke_api_key`."""
    mark = update(api_keys).where(api_keys.c.name == name, api_keys.c.revoked_s.is_(None))
    connection.execute(mark.values(revoked_s=now_s))
    row = connection.execute(select(api_keys).where(api_keys.c.name == name)).one_or_none()
    if row is None:
        known = ", ".join(key.name for key in list_api_keys(connection)[:10]) or "none"
        raise UnknownNameError(field="API key", value=name, remedy=f"Existing keys: {known}.")
    return _api_key(row)


def _taken(key: ApiKey) -> BadInputError:
    return BadInputError(
        field="name of the key",
        value=key.name,
        remedy="The name or hash is in use; choose another name.",
    )


def _api_key(row: Row[Any]) -> ApiKey:
    return ApiKey(
        name=row.name,
        key_hash=row.key_hash,
        scopes=frozenset(row.scopes.split()),
        created_s=row.created_s,
        revoked_s=row.revoked_s,
    )
