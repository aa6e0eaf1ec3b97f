"""The store over SQLAlchemy: each method checks its arguments, then runs one transaction.

`contract.Store` documents the methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from sqlalchemy import text

from warmprompt.errors import DatabaseAwayError, StorageError
from warmprompt.store import catalogue, erasing, logs, states
from warmprompt.store.checks import (
    check_api_key,
    check_entries,
    check_id,
    check_item_ids,
    check_items,
    check_number,
    check_state,
)
from warmprompt.store.contract import (
    ApiKey,
    Appended,
    Deleted,
    Entry,
    Export,
    Head,
    Item,
    ItemChanges,
    Page,
    Put,
    StatesProgress,
    StoredEntry,
    StoredState,
)
from warmprompt.store.database import Database

_USER = "user id"
_MODEL = "model hash"


@dataclass(frozen=True, kw_only=True)
class SqlStore:
    """A store in SQLite or PostgreSQL; open one with `open_store`.

    Attributes:
        database: Where the tables are.
        clock: Returns the present, seconds since 1970.
        scrub_up_to_bytes: Deleting a user rewrites a SQLite file of up to this size at once.
    """

    database: Database
    clock: Callable[[], float]
    scrub_up_to_bytes: int

    def append(
        self,
        user: str,
        entries: Sequence[Entry],
        *,
        idempotency_key: str | None = None,
        longest: int | None = None,
    ) -> Appended:
        """Add entries to the end of a user's log."""
        check_id(user, _USER)
        check_entries(entries)
        if idempotency_key is not None:
            check_id(idempotency_key, "idempotency key")
        now_s = int(self.clock())
        return self.database.write(
            lambda connection: logs.append(
                connection, user, entries, idempotency_key=idempotency_key, longest=longest, now_s=now_s
            )
        )

    def entries(self, user: str, *, after: int = 0, limit: int | None = None) -> tuple[StoredEntry, ...]:
        """Return a user's entries after number `after`."""
        check_id(user, _USER)
        check_number(after, "after")
        if limit is not None:
            check_number(limit, "limit", least=1)
        return self.database.read(
            lambda connection: logs.read_entries(connection, user, after=after, limit=limit)
        )

    def head(self, user: str) -> Head | None:
        """Return the end of a user's log."""
        check_id(user, _USER)
        return self.database.read(lambda connection: logs.head(connection, user))

    def heads(self, users: Sequence[str]) -> tuple[Head, ...]:
        """Return the ends of several users' logs."""
        for user in users:
            check_id(user, _USER)
        return self.database.read(lambda connection: logs.heads(connection, users))

    def users(self, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of users."""
        _check_page(after, limit)
        return self.database.read(lambda connection: logs.page(connection, after=after, limit=limit))

    def get_state(self, user: str, model_hash: str) -> StoredState | None:
        """Return a model's state of a user."""
        check_id(user, _USER)
        check_id(model_hash, _MODEL)
        return self.database.read(lambda connection: states.get_state(connection, user, model_hash))

    def put_state(self, user: str, state: StoredState) -> Put:
        """Store a state, unless a newer one is stored."""
        check_id(user, _USER)
        check_state(state)
        return self.database.write(lambda connection: states.put(connection, user, state))

    def put_states(self, given: Mapping[str, StoredState]) -> None:
        """Store states of several users, as `put_state` does."""
        for user, state in given.items():
            check_id(user, _USER)
            check_state(state)
        self.database.write(lambda connection: states.put_many(connection, given))

    def behind(self, model_hash: str, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of the users whose state is missing or behind."""
        check_id(model_hash, _MODEL)
        _check_page(after, limit)
        return self.database.read(
            lambda connection: states.behind(connection, model_hash, after=after, limit=limit)
        )

    def progress(self, model_hash: str) -> StatesProgress:
        """Count the users, and those whose state is current."""
        check_id(model_hash, _MODEL)
        return self.database.view(lambda connection: states.progress(connection, model_hash))

    def drop_states(self, *, keep: Iterable[str], limit: int = 1000) -> int:
        """Delete states of models other than those named."""
        kept = list(keep)
        for model_hash in kept:
            check_id(model_hash, _MODEL)
        check_number(limit, "limit", least=1)
        return self.database.write(lambda connection: states.drop(connection, keep=kept, limit=limit))

    def export(self, user: str) -> Export | None:
        """Return everything stored about a user."""
        check_id(user, _USER)
        return self.database.view(lambda connection: erasing.export(connection, user))

    def delete(self, user: str) -> Deleted:
        """Delete everything stored about a user."""
        check_id(user, _USER)
        deleted = self.database.write(lambda connection: erasing.erase(connection, user))
        try:
            scrubbed = erasing.scrub(self.database, up_to_bytes=self.scrub_up_to_bytes)
        except (DatabaseAwayError, StorageError):
            scrubbed = False  # the user is deleted all the same; the file stays marked
        return replace(deleted, scrubbed=scrubbed)

    def scrub(self, *, up_to_bytes: int | None = None) -> bool:
        """Remove deleted bytes from the database's own files."""
        return erasing.scrub(self.database, up_to_bytes=up_to_bytes)

    def put_items(self, items: Sequence[Item]) -> int:
        """Add items or replace them."""
        check_items(items)
        return self.database.write(lambda connection: catalogue.put_items(connection, items))

    def hide_items(self, ids: Sequence[str], *, hidden: bool) -> int:
        """Hide items, or show them again."""
        check_item_ids(ids)
        return self.database.write(lambda connection: catalogue.hide_items(connection, ids, hidden=hidden))

    def items(self, *, since: int = 0) -> ItemChanges:
        """Return the changes of items after a version."""
        check_number(since, "since")
        return self.database.view(lambda connection: catalogue.changes(connection, since=since))

    def add_api_key(self, key: ApiKey) -> None:
        """Store a key."""
        check_api_key(key)
        self.database.write(lambda connection: catalogue.add_api_key(connection, key))

    def find_api_key(self, key_hash: str) -> ApiKey | None:
        """Return the key with a hash."""
        check_id(key_hash, "hash of the key")
        return self.database.read(lambda connection: catalogue.find_api_key(connection, key_hash))

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Return all keys, by name."""
        return self.database.read(catalogue.list_api_keys)

    def revoke_api_key(self, name: str) -> ApiKey:
        """Mark a key as revoked."""
        check_id(name, "name of the key")
        now_s = int(self.clock())
        return self.database.write(lambda connection: catalogue.revoke_api_key(connection, name, now_s=now_s))

    def ping(self) -> None:
        """Check that the database answers, and writes again after a refusal."""
        self.database.read(lambda connection: connection.execute(text("SELECT 1")).scalar_one())
        if self.database.refused.is_set():
            self.database.write(catalogue.write_same_version)

    def close(self) -> None:
        """Close all connections."""
        self.database.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()


def _check_page(after: int, limit: int) -> None:
    check_number(after, "after")
    check_number(limit, "limit", least=1)
