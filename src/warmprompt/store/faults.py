"""Translation of database driver errors into errors with a remedy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from warmprompt.errors import DatabaseAwayError, IntegrityError, StorageError, WarmpromptError

_LATER = "Nothing has to be restarted: calls succeed again once it answers."
_FULL = "The disk is full; free some space."
_NO_TABLES = "Its tables are missing; restart to create them."
_DAMAGED = "It is no SQLite database, or damaged: correct the address or restore a backup."

_LOCKED = f"Another process keeps it locked. {_LATER}"
_ON_SQLITE: dict[int, tuple[type[WarmpromptError], str]] = {
    sqlite3.SQLITE_BUSY: (DatabaseAwayError, _LOCKED),
    sqlite3.SQLITE_LOCKED: (DatabaseAwayError, _LOCKED),
    sqlite3.SQLITE_CANTOPEN: (DatabaseAwayError, f"The file cannot be opened. {_LATER}"),
    sqlite3.SQLITE_FULL: (StorageError, _FULL),
    sqlite3.SQLITE_CORRUPT: (IntegrityError, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (IntegrityError, _DAMAGED),
}


@contextmanager
def translated_errors(address: str) -> Iterator[None]:
    """Turn the errors of a database driver inside the block into one-line errors about `address`.

    Raises:
        DatabaseAwayError: The database cannot be reached, or is busy for too long.
        StorageError: It cannot write.
        IntegrityError: It is damaged, or its tables are gone.
    """
    try:
        yield
    except PoolTimeoutError as error:
        raise DatabaseAwayError(
            field="database", value=address, remedy=f"All connections are in use for too long. {_LATER}"
        ) from error
    except DBAPIError as error:
        meant = _meaning(error, address)
        if meant is None:
            raise
        raise meant from error


def is_deadlock(error: DBAPIError) -> bool:
    """Return whether PostgreSQL rolled back a transaction that may be retried at once."""
    return _sqlstate(error) in {"40001", "40P01"}


def _meaning(error: DBAPIError, address: str) -> WarmpromptError | None:
    if isinstance(error.orig, sqlite3.Error):
        return _meaning_on_sqlite(error.orig, address)
    state = _sqlstate(error)
    if state in {"53100", "53200"}:
        return StorageError(field="database", value=address, remedy="The server is out of disk or memory.")
    if state in {"42P01", "3F000"}:
        return IntegrityError(field="database", value=address, remedy=_NO_TABLES)
    # 25006: a read-only replica answers while another server takes over.
    if (
        error.connection_invalidated
        or isinstance(error, OperationalError | InterfaceError)
        or state == "25006"
    ):
        return DatabaseAwayError(field="database", value=address, remedy=_LATER)
    return None


def _meaning_on_sqlite(error: sqlite3.Error, address: str) -> WarmpromptError | None:
    code = getattr(error, "sqlite_errorcode", None)
    if not isinstance(code, int):
        return None
    primary = code & 0xFF
    if primary == sqlite3.SQLITE_ERROR and str(error).startswith("no such table"):
        return IntegrityError(field="database", value=address, remedy=_NO_TABLES)
    if primary in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return StorageError(field="database", value=address, remedy=f"The disk refuses: {error}.")
    if primary not in _ON_SQLITE:
        return None
    kind, remedy = _ON_SQLITE[primary]
    return kind(field="database", value=address, remedy=remedy)


def _sqlstate(error: DBAPIError) -> str | None:
    state = getattr(error.orig, "sqlstate", None)
    return state if isinstance(state, str) else None
