"""Connections and transactions: the settings that make each database durable and consistent.

SQLite: write-ahead log, flushed to the disk with each commit; writers of one process share commits
(`group_commit`), those of several wait for the file's lock. PostgreSQL: each user's row is locked while the
user's log grows.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from warmprompt.errors import DatabaseAwayError, StorageError
from warmprompt.files import writing_to
from warmprompt.store.faults import is_deadlock, translated_errors
from warmprompt.store.group_commit import GroupCommit

_ANSWER_WITHIN_S = 5
_ATTEMPTS = 3
_SWITCH_AGAIN_S = 0.01
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database and its connections; make one with `connect`.

    Attributes:
        engine: Its transactions write: on SQLite they take the file's lock when they begin.
        reading: Shares its connections; every statement sees one moment, and no transaction costs time.
        viewing: Shares its connections; every transaction sees one moment.
        address: For messages, without a password.
        file: Of SQLite.
        file_id: Device and number of that file when it was opened.
        group_commit: Of the writers to a SQLite file.
        refused: Set while the disk refuses writes: it refused the last one.
    """

    engine: Engine
    reading: Engine
    viewing: Engine
    address: str
    file: Path | None
    file_id: tuple[int, int] | None = None
    group_commit: GroupCommit | None = None
    refused: threading.Event = field(default_factory=threading.Event)

    def read(self, work: Callable[[Connection], Result]) -> Result:
        """Return the result of `work`, which runs one statement.

        Raises:
            DatabaseAwayError, StorageError, IntegrityError: See `faults.translated_errors`.
        """
        self._check_file()
        with translated_errors(self.address), self.reading.connect() as connection:
            return work(connection)

    def view(self, work: Callable[[Connection], Result]) -> Result:
        """Return the result of `work`, whose statements all see the same moment.

        Raises:
            DatabaseAwayError, StorageError, IntegrityError: See `faults.translated_errors`.
        """
        self._check_file()
        with translated_errors(self.address), self.viewing.begin() as connection:
            return work(connection)

    def write(self, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` returned, after what it wrote is on the disk.

        It is called again if the server rolled it back in favour of another transaction, or if the batch with
        which it was written failed.

        Raises:
            DatabaseAwayError, StorageError, IntegrityError: See `faults.translated_errors`.
        """
        self._check_file()
        try:
            done = self._written(work)
        except StorageError:
            self.refused.set()
            raise
        self.refused.clear()
        self._check_file(written=True)  # else a commit to a file that was deleted meanwhile would count
        return done

    def _written(self, work: Callable[[Connection], Result]) -> Result:
        with translated_errors(self.address):
            if self.group_commit is not None:
                return self.group_commit.write(self.engine.begin, work)
            for attempt in range(_ATTEMPTS):
                try:
                    with self.engine.begin() as connection:
                        return work(connection)
                except DBAPIError as error:
                    if attempt == _ATTEMPTS - 1 or not is_deadlock(error):
                        raise
        raise AssertionError("the loop returns or raises")

    def _check_file(self, *, written: bool = False) -> None:
        """Refuse a SQLite file that is not the one opened: open connections write on into a deleted file.

        Args:
            written: Something was written, so that the write-ahead log must be there too.

        Raises:
            DatabaseAwayError: The file, or its write-ahead log, was deleted or replaced.
        """
        if self.file is None:
            return
        try:
            same = _id_of(self.file) == self.file_id
            if written:
                Path(f"{self.file}-wal").stat()
        except OSError:
            same = False
        if not same:
            remedy = "Its file was deleted or replaced: put it back, or restart the service with the new one."
            raise DatabaseAwayError(field="database", value=self.address, remedy=remedy)


def connect(url: URL, *, busy_s: float, num_connections: int) -> Database:
    """Return a database whose connections are made when first needed.

    Args:
        url: Checked already: a SQLite file, or PostgreSQL through psycopg.
        busy_s: How long a writer, or a call without a free connection, waits.
        num_connections: Connections open at once, at most.
    """
    limits: dict[str, Any] = {"pool_size": num_connections, "max_overflow": 0, "pool_timeout": busy_s}
    address = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite":
        file = Path(str(url.database)).resolve()
        _make_private(file)
        engine = create_engine(url.set(database=str(file)), connect_args={"timeout": busy_s}, **limits)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        reading = engine.execution_options(warmprompt_begin="")
        viewing = engine.execution_options(warmprompt_begin="BEGIN")
        group_commit = GroupCommit(address, busy_s)
        return Database(
            engine=engine,
            reading=reading,
            viewing=viewing,
            address=address,
            file=file,
            file_id=_id_of(file),
            group_commit=group_commit,
        )
    settings = {
        "client_encoding": "utf8",
        "connect_timeout": _ANSWER_WITHIN_S,
        "keepalives_idle": _ANSWER_WITHIN_S,
        "tcp_user_timeout": 2000 * _ANSWER_WITHIN_S,
    }
    engine = create_engine(
        url, isolation_level="READ COMMITTED", pool_pre_ping=True, connect_args=settings, **limits
    )
    event.listen(engine, "connect", _postgresql_preparer(busy_s))
    reading = engine.execution_options(isolation_level="AUTOCOMMIT")
    viewing = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    return Database(engine=engine, reading=reading, viewing=viewing, address=address, file=None)


def _make_private(file: Path) -> None:
    """Create the file, readable by its owner only; SQLite's other files get the same permissions."""
    with writing_to(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))


def _id_of(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # sqlite3 must begin no transactions by itself: `_begin_sqlite` chooses the kind.
    connection.isolation_level = None
    _switch_to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    """Switch to a write-ahead log, and wait for other writers: SQLite itself does not wait at the switch."""
    (busy_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
    deadline = time.monotonic() + busy_ms / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(_SWITCH_AGAIN_S)


def _begin_sqlite(connection: Connection) -> None:
    begin = connection.get_execution_options().get("warmprompt_begin", "BEGIN IMMEDIATE")
    if begin:
        connection.exec_driver_sql(begin)


def _postgresql_preparer(busy_s: float) -> Callable[[Any, Any], None]:
    """Return the set-up of a new connection: limited waits, and commits that reach the disk."""
    milliseconds = int(1000 * busy_s)

    def prepare(connection: Any, _: Any) -> None:
        before, connection.autocommit = connection.autocommit, True
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"SET {setting} = {milliseconds}")
        if connection.execute("SHOW synchronous_commit").fetchone() == ("off",):
            connection.execute("SET synchronous_commit = on")
        connection.autocommit = before

    return prepare
