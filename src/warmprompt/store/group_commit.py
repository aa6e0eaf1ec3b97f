"""Group commit: writers of one process take turns at a SQLite file, and those that wait share the next flush.

A commit costs one flush of the disk, however much it holds. So the writer that holds the lock runs everything
that waits in one transaction. Each piece is undone alone if it fails, and none is reported as done before the
flush.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from warmprompt.coalescing import BatchQueue, Pending
from warmprompt.errors import DatabaseAwayError

_LARGEST = 64
Result = TypeVar("Result")
Begin = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction that ends with its block."""

Write = Callable[[Connection], Any]
_Batch = Sequence[Pending[Write, Any]]


class GroupCommit:
    """Serialises the writers to a SQLite file.

    Args:
        address: Of the file, for messages.
        busy_s: How long a writer waits for the lock.
    """

    def __init__(self, address: str, busy_s: float) -> None:
        self._address = address
        self._busy_s = busy_s
        self._lock = threading.Lock()
        self.queue: BatchQueue[Write, Any] = BatchQueue(largest=_LARGEST)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock; no other thread of this process writes meanwhile.

        A thread that waited in SQLite instead would sleep in growing steps, and might never get its turn.

        Raises:
            DatabaseAwayError: The lock was not free in time.
        """
        if not self._lock.acquire(timeout=self._busy_s):
            raise DatabaseAwayError(
                field="database", value=self._address, remedy="Too many writers wait for it; try again later."
            )
        try:
            yield
        finally:
            self._lock.release()

    def write(self, begin: Begin, work: Callable[[Connection], Result]) -> Result:
        """Return what `work` returned, after what it wrote is on the disk.

        Args:
            begin: Opens a transaction that ends with its block.
            work: Writes; may run in another writer's thread.

        Raises:
            DatabaseAwayError: The lock was not free in time; if another writer had begun on the work, it may
                be carried out.
            Exception: What `work` or the commit raised.
        """
        future: Future[Result] = Future()
        pending = self.queue.put(work, future)
        try:
            with self.alone():
                while not future.done():
                    self._run_next(begin)
        except BaseException:
            if not future.done():
                self.queue.withdraw(pending)
                raise
        return future.result()

    def _run_next(self, begin: Begin) -> None:
        """Run the next batch; the lock is held."""
        batch = self.queue.take()
        try:
            if len(batch) == 1 or not _run_together(begin, batch):
                for pending in batch:
                    _run_alone(begin, pending)
        finally:  # if no transaction could be begun, each writer finds out for itself
            self.queue.put_back(pending for pending in batch if not pending.future.done())


def _run_together(begin: Begin, batch: _Batch) -> bool:
    """Run a batch in one transaction; False if the database refused something and nothing was written.

    A refusal may have undone the whole transaction; what follows would then run outside any.
    """
    outcomes: list[Any] = []
    try:
        with begin() as connection:
            for pending in batch:
                try:
                    with connection.begin_nested():
                        outcomes.append(pending.job(connection))
                except DBAPIError:
                    raise
                except Exception as error:  # noqa: BLE001 - it is delivered to the caller
                    outcomes.append(error)
    except DBAPIError:
        return False
    for pending, outcome in zip(batch, outcomes, strict=True):
        pending.deliver(outcome)
    return True


def _run_alone(begin: Begin, pending: Pending[Write, Any]) -> None:
    try:
        with begin() as connection:
            outcome = pending.job(connection)
    except Exception as error:  # noqa: BLE001 - it is delivered to the caller
        outcome = error
    pending.deliver(outcome)
