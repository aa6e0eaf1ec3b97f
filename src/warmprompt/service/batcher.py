"""Requests that come within a few milliseconds of one another share one pass of the model.

    submit(job) -> future        at once, or `QueueFullError`

Jobs wait in a bounded queue on the event loop's side; one worker thread takes as many as fit a batch. While
it works, the next batch gathers; when it was idle, the first job waits a few milliseconds for company.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from warmprompt.errors import FaultError

Job = TypeVar("Job")
Result = TypeVar("Result")


class QueueFullError(FaultError):
    """More work waits than may; trying again later helps."""


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How jobs are gathered.

    Attributes:
        largest: Jobs in a batch.
        window_s: How long the first job of an idle worker waits for company.
        queue: Jobs that may wait.
    """

    largest: int = 8
    window_s: float = 0.003
    queue: int = 64


class Batcher(Generic[Job, Result]):
    """Gathers jobs into batches for one worker thread; lives in one event loop.

    Args:
        run: Maps a batch to one result per job; called in the worker thread. Where it raises, every job
            of the batch is run alone, so that an error meets only whom it concerns.
        limits: See `BatchLimits`.
        executor: With one thread.
        begun: Told, in the event loop, the jobs of a batch that is about to run.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Job]], Sequence[Result]],
        *,
        limits: BatchLimits,
        executor: Executor,
        begun: Callable[[Sequence[Job]], object] = lambda _jobs: None,
    ) -> None:
        self._run = run
        self._limits = limits
        self._executor = executor
        self._begun = begun
        self._waiting: deque[tuple[Job, asyncio.Future[Result]]] = deque()
        self._arrived = asyncio.Event()
        self._busy = False
        self._task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Jobs in the queue, those that run not counted."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        return not self._busy and not self._waiting

    def start(self) -> None:
        """Begin to work; call it inside the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="batcher")

    async def close(self) -> None:
        """Stop working; what still waits is cancelled, what runs is let run to its end unheard."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()

    def submit(self, job: Job) -> asyncio.Future[Result]:
        """Put a job in the queue; cancelling the future before its batch begins takes the job out.

        Raises:
            QueueFullError: As many jobs wait as may.
        """
        if len(self._waiting) >= self._limits.queue:
            raise QueueFullError(
                field="queue of adaptations", value=len(self._waiting), remedy="Try again in a second."
            )
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, future))
        self._arrived.set()
        return future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
                await asyncio.sleep(self._limits.window_s)
            batch = self._take()
            if not batch:
                continue
            jobs = [job for job, _ in batch]
            self._begun(jobs)
            self._busy = True
            try:
                outcomes = await loop.run_in_executor(self._executor, self._run_each, jobs)
            finally:
                self._busy = False
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                _settle(future, outcome)

    def _take(self) -> list[tuple[Job, asyncio.Future[Result]]]:
        batch: list[tuple[Job, asyncio.Future[Result]]] = []
        while self._waiting and len(batch) < self._limits.largest:
            job, future = self._waiting.popleft()
            if not future.done():
                batch.append((job, future))
        return batch

    def _run_each(self, jobs: Sequence[Job]) -> Sequence[Result | Exception]:
        try:
            return self._run(jobs)
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the jobs, not to the worker
            if len(jobs) == 1:
                return [error]
        return [outcome for job in jobs for outcome in self._run_each([job])]


def _settle(future: asyncio.Future[Result], outcome: Result | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # somebody who gave up waiting is no error of ours
    else:
        future.set_result(outcome)
