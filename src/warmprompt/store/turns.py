"""Writers of one process to one SQLite file: one at a time, and those who wait share the next flush.

A commit costs a flush of the disk, whatever it holds. So whoever gets the turn carries out everything that
waits, in one transaction, and the others find their work done. Each piece is undone alone when it fails,
and none is told as done before the flush.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from warmprompt.errors import DatabaseAwayError

_MOST = 64
Result = TypeVar("Result")


@dataclass(eq=False)
class _Job:
    """Something to be written."""

    work: Callable[[Connection], Any]
    is_done: bool = False
    result: Any = None
    error: Exception | None = None


class Turns:
    """The turn to write to a SQLite file.

    Args:
        place: Of the file, for messages.
        busy_s: How long a writer waits for the turn.
    """

    def __init__(self, place: str, busy_s: float) -> None:
        self._place = place
        self._busy_s = busy_s
        self._turn = threading.Lock()
        self._list = threading.Lock()
        self._waiting: deque[_Job] = deque()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the turn.

        A thread that waited in SQLite would sleep in growing steps instead, and might never get its turn.

        Raises:
            DatabaseAwayError: No turn came.
        """
        if not self._turn.acquire(timeout=self._busy_s):
            raise self._away()
        try:
            yield
        finally:
            self._turn.release()

    def write(
        self, begin: Callable[[], AbstractContextManager[Connection]], work: Callable[[Connection], Result]
    ) -> Result:
        """Return what `work` returned, after what it wrote is on the disk.

        Args:
            begin: Opens a transaction that ends with its block.
            work: Writes; may run in another writer's thread.

        Raises:
            DatabaseAwayError: No turn came; if another writer had begun on the work, it may be carried out.
            Exception: What `work` or the commit raised.
        """
        job = _Job(work)
        with self._list:
            self._waiting.append(job)
        try:
            with self.alone():
                while not job.is_done:
                    self._carry_out(begin)
        except BaseException:
            if not job.is_done:
                self._take_back(job)
                raise
        if job.error is not None:
            raise job.error
        return cast("Result", job.result)

    def _carry_out(self, begin: Callable[[], AbstractContextManager[Connection]]) -> None:
        """Carry out what waits; the turn is held."""
        with self._list:
            jobs = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
        try:
            if len(jobs) == 1 or not _together(begin, jobs):
                for job in jobs:
                    _alone(begin, job)
        finally:  # where no transaction could be begun, each finds out for itself
            with self._list:
                self._waiting.extendleft(reversed([job for job in jobs if not job.is_done]))

    def _take_back(self, job: _Job) -> None:
        with self._list, suppress(ValueError):  # another writer may be at it
            self._waiting.remove(job)

    def _away(self) -> DatabaseAwayError:
        return DatabaseAwayError(
            field="database", value=self._place, remedy="Too many writers wait for it; try again later."
        )


def _together(begin: Callable[[], AbstractContextManager[Connection]], jobs: Sequence[_Job]) -> bool:
    """Carry jobs out in one transaction; False where the database refused something and nothing was written.

    A refusal may have undone the whole transaction, so that what follows would stand outside any.
    """
    outcomes: list[tuple[Any, Exception | None]] = []
    try:
        with begin() as connection:
            for job in jobs:
                try:
                    with connection.begin_nested():
                        outcomes.append((job.work(connection), None))
                except DBAPIError:
                    raise
                except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
                    outcomes.append((None, error))
    except DBAPIError:
        return False
    for job, (job.result, job.error) in zip(jobs, outcomes, strict=True):
        job.is_done = True
    return True


def _alone(begin: Callable[[], AbstractContextManager[Connection]], job: _Job) -> None:
    try:
        with begin() as connection:
            job.result = job.work(connection)
    except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
        job.error = error
    job.is_done = True
