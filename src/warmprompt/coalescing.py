"""Requests that arrive close together share one pass of a model, one query or one commit.

    BatchQueue    the jobs that wait, safe between threads
    Coalescer     runs a queue's batches in tasks of an event loop

Log heads and texts of the service use `Coalescer`. The group commit of the store uses
`BatchQueue` alone, because there the writers' own threads run the batches.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from warmprompt.errors import FaultError

Job = TypeVar("Job")
Result = TypeVar("Result")


class QueueFullError(FaultError):
    """The queue has reached its limit; the request may succeed later."""


@dataclass(frozen=True, eq=False)
class Pending(Generic[Job, Result]):
    """A job in a queue or in a running batch.

    Attributes:
        job: What to run.
        future: Receives the result; of `asyncio` or of `concurrent.futures`.
        key: Under which the queue keeps it.
    """

    job: Job
    future: Any
    key: object

    def deliver(self, outcome: Result | Exception) -> None:
        """Hand the job's result, or its error, to whoever waits; nothing happens if nobody does any more."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
            self.future.exception()  # marks it as retrieved: a caller that gave up is no error
        else:
            self.future.set_result(outcome)


class BatchQueue(Generic[Job, Result]):
    """Jobs that wait for the next batch, oldest first.

    Args:
        largest: Jobs in a batch at most.
        limit: Jobs that may wait; None for any number.
        name: Of the queue, for error messages.
    """

    def __init__(self, *, largest: int, limit: int | None = None, name: str = "queue") -> None:
        self._largest = largest
        self._limit = limit
        self._name = name
        self._waiting: OrderedDict[object, Pending[Job, Result]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Jobs that wait; those in a batch are not counted."""
        return len(self._waiting)

    def put(
        self, job: Job, future: asyncio.Future[Result] | Future[Result], *, key: object = None
    ) -> Pending[Job, Result]:
        """Append a job, or return the one that waits under its key.

        Args:
            job: What to run.
            future: Receives the result.
            key: Equal for jobs that run once for all their callers; None for a job of its own.

        Raises:
            QueueFullError: The queue has reached its limit.
        """
        with self._lock:
            if key in self._waiting:
                return self._waiting[key]
            if self._limit is not None and len(self._waiting) >= self._limit:
                raise QueueFullError(
                    field=self._name, value=len(self._waiting), remedy="Try again in a second."
                )
            pending: Pending[Job, Result] = Pending(job, future, future if key is None else key)
            self._waiting[pending.key] = pending
        return pending

    def withdraw(self, pending: Pending[Job, Result]) -> None:
        """Remove a job; one that is already in a batch runs all the same."""
        with self._lock:
            self._waiting.pop(pending.key, None)

    def take(self) -> list[Pending[Job, Result]]:
        """Remove and return the next batch, without the jobs whose futures were cancelled."""
        batch: list[Pending[Job, Result]] = []
        with self._lock:
            while self._waiting and len(batch) < self._largest:
                _, pending = self._waiting.popitem(last=False)
                if not pending.future.done():
                    batch.append(pending)
        return batch

    def put_back(self, batch: Iterable[Pending[Job, Result]]) -> None:
        """Return jobs of a batch that were not run to the front of the queue, in their order."""
        with self._lock:
            for pending in reversed(list(batch)):
                self._waiting[pending.key] = pending
                self._waiting.move_to_end(pending.key, last=False)


class Coalescer(Generic[Job, Result]):
    """Runs jobs in batches, in tasks of one event loop.

    While `num_tasks` batches are under way, new jobs gather for the next one. A task ends when nothing waits.

    Args:
        run: Maps a batch to one outcome per job. Where it raises, every job of the batch gets the error.
        name: Of the queue, for error messages.
        largest: Jobs in a batch at most.
        limit: Jobs that may wait; None for any number.
        num_tasks: Batches that may be under way at once.
        window_s: How long the first job after a pause waits for others to share its batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Awaitable[Sequence[Result | Exception]]],
        *,
        name: str,
        largest: int,
        limit: int | None = None,
        num_tasks: int = 1,
        window_s: float = 0.0,
    ) -> None:
        self._run = run
        self._name = name
        self._num_tasks = num_tasks
        self._window_s = window_s
        self._queue: BatchQueue[Job, Result] = BatchQueue(largest=largest, limit=limit, name=name)
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0

    def __len__(self) -> int:
        """Jobs that wait; those in a batch are not counted."""
        return len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether no job runs and none waits."""
        return self._under_way == 0

    def submit(self, job: Job, *, key: object = None) -> asyncio.Future[Result]:
        """Queue a job; cancelling the future before its batch begins removes the job.

        Args:
            job: For `run`.
            key: Jobs that wait under one key run once and share a future.

        Raises:
            QueueFullError: The queue has reached its limit.
        """
        loop = asyncio.get_running_loop()
        pending = self._queue.put(job, loop.create_future(), key=key)
        if self._under_way < self._num_tasks:
            self._under_way += 1
            task = loop.create_task(self._work(), name=f"coalescer {self._name}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        future: asyncio.Future[Result] = pending.future
        return future

    async def shared(self, job: Job) -> Result:
        """Return a job's result; equal jobs that wait run once. Cancelling one caller leaves the others."""
        return await asyncio.shield(self.submit(job, key=job))

    async def close(self) -> None:
        """Cancel the tasks and all jobs; a thread that runs a batch finishes it without delivering."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while batch := self._queue.take():
            for pending in batch:
                pending.future.cancel()

    async def _work(self) -> None:
        try:
            if self._window_s:
                await asyncio.sleep(self._window_s)
            while batch := self._queue.take():
                await self._run_batch(batch)
        finally:
            # In the same step as the last look at the queue: no job can arrive between the two.
            self._under_way -= 1

    async def _run_batch(self, batch: Sequence[Pending[Job, Result]]) -> None:
        outcomes: Sequence[Result | Exception]
        try:
            outcomes = await self._run([pending.job for pending in batch])
        except asyncio.CancelledError:
            for pending in batch:
                pending.future.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, not to this task
            outcomes = [error] * len(batch)
        for pending, outcome in zip(batch, outcomes, strict=True):
            pending.deliver(outcome)
