"""Open a store by its address."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import ArgumentError

from warmprompt.errors import BadInputError, DatabaseAwayError, StorageError
from warmprompt.store.contract import Store
from warmprompt.store.database import Database, connect
from warmprompt.store.erasing import scrub
from warmprompt.store.faults import translated_errors
from warmprompt.store.migrating import migrate
from warmprompt.store.sql import SqlStore

_SCRUB_UP_TO = 16 * 2**20


def open_store(
    url: str,
    *,
    clock: Callable[[], float] = time.time,
    busy_s: float = 10.0,
    num_connections: int = 8,
    scrub_up_to_bytes: int = _SCRUB_UP_TO,
) -> Store:
    """Open a store; creates or upgrades its tables if needed.

    Args:
        url: "sqlite:///users.db" (a file, created if missing, readable by its owner only) or
            "postgresql://user:password@host:5432/name".
        clock: Returns the present, seconds since 1970.
        busy_s: How long a call waits for others before it gives up with DatabaseAwayError.
        num_connections: Connections open at once, at most.
        scrub_up_to_bytes: Deleting a user rewrites a SQLite file of up to this size at once; a larger one is
            left to `Store.scrub`.

    Raises:
        BadInputError: The address is invalid, nothing answers there, or the database is not in UTF-8.
        MismatchError: A later version wrote the database.
        IntegrityError: The file is no SQLite database, or damaged.
        StorageError: The file may not be written.
    """
    checked = _checked(url)
    database = connect(checked, busy_s=busy_s, num_connections=num_connections)
    store = SqlStore(database=database, clock=clock, scrub_up_to_bytes=scrub_up_to_bytes)
    try:
        with translated_errors(database.address):
            _check_encoding(database)
            migrate(database.engine, database.reading)
    except DatabaseAwayError as error:
        store.close()
        cause = str(error.__cause__).splitlines()[0]
        raise BadInputError(
            field="database", value=database.address, remedy=f"Start it or correct the address ({cause})."
        ) from error
    except BaseException:
        store.close()
        raise
    _finish_scrubbing(database, up_to_bytes=scrub_up_to_bytes)
    return store


def _checked(url: object) -> URL:
    remedy = 'Give "sqlite:///users.db" or "postgresql://user@host/name".'
    if not isinstance(url, str):
        raise BadInputError(field="database", value=url, remedy=remedy)
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        # An invalid address may still contain a password.
        raise BadInputError(field="database", value=url.partition(":")[0], remedy=remedy) from None
    shown = parts.render_as_string(hide_password=True)
    if parts.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parts.set(drivername="postgresql+psycopg")
    if parts.drivername not in {"sqlite", "sqlite+pysqlite"} or parts.query:
        raise BadInputError(field="database", value=shown, remedy=remedy)
    if not parts.database or parts.database == ":memory:" or parts.database.startswith("file:"):
        raise BadInputError(field="database", value=shown, remedy=f"Name a file. {remedy}")
    return parts


def _check_encoding(database: Database) -> None:
    if database.file is not None:
        return
    with database.reading.connect() as connection:
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise BadInputError(
            field="encoding of the database",
            value=encoding,
            remedy="Ids are Unicode: make the database with ENCODING 'UTF8'.",
        )


def _finish_scrubbing(database: Database, *, up_to_bytes: int) -> None:
    """Finish the scrub of a killed process; a busy or full disk postpones it."""
    try:
        scrub(database, up_to_bytes=up_to_bytes)
    except (DatabaseAwayError, StorageError):
        return
