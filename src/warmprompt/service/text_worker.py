"""The worker that reads users' texts: a thread and a queue of its own, so that nobody else waits for a model.

Texts are read in batches, and kept for those who are asked for again. All methods run in the event loop;
the frozen model runs in the thread. A deletion never waits for it: what a running batch reads of a deleted
user is not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from warmprompt.coalescing import Coalescer, QueueFullError
from warmprompt.lru import LruCache
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.reading import UserTextReader
from warmprompt.service.settings import BatchLimits
from warmprompt.types import Floats

# A reading of 384 numbers takes 1.5 kB.
_NUM_KEPT = 4096

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, eq=True)
class _TextJob:
    """A text to be read; equal jobs that wait are read once."""

    reader: UserTextReader
    text: str


class TextWorker:
    """Reads texts; belongs to one event loop.

    Args:
        limits: Texts in a batch and in the queue.
        metrics: Counts what happens.
        initializer: Called once in the thread.
    """

    def __init__(
        self, limits: BatchLimits, metrics: Metrics, *, initializer: Callable[[], object] | None = None
    ) -> None:
        self._limit = limits.queue
        self._metrics = metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="texts", initializer=initializer)
        self._queue: Coalescer[_TextJob, Floats] = Coalescer(
            self._run, name="queue of texts", largest=limits.largest, window_s=limits.window_s
        )
        self._kept: LruCache[_TextJob, Floats] = LruCache(_NUM_KEPT)
        self._open: dict[_TextJob, asyncio.Future[Floats]] = {}

    def __len__(self) -> int:
        """Texts that wait."""
        return len(self._queue)

    @property
    def is_reading(self) -> bool:
        """Whether a batch is being read."""
        return len(self._open) > len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether no text is read and none waits."""
        return self._queue.idle

    def known(self, reader: UserTextReader, texts: Iterable[str]) -> dict[str, Floats]:
        """Return the readings of those texts that were read before."""
        found = ((text, self._kept.get(_TextJob(reader, text))) for text in texts)
        return {text: reading for text, reading in found if reading is not None}

    def submit(self, reader: UserTextReader, texts: Sequence[str]) -> list[asyncio.Future[Floats]]:
        """Queue texts; those that wait or are read already are not read twice.

        Raises:
            QueueFullError: As many texts wait as may; one request may add all of its texts while fewer do.
        """
        jobs = [_TextJob(reader, text) for text in texts]
        new = [job for job in jobs if job not in self._open]
        if new and len(self._queue) >= self._limit:
            raise QueueFullError(
                field="queue of texts", value=len(self._queue), remedy="Try again in a second."
            )
        for job in new:
            self._open[job] = self._queue.submit(job)
        return [self._open[job] for job in jobs]

    def keep_only(self, reader: UserTextReader) -> None:
        """Drop the readings of other models, which would keep these in memory."""
        for job in [job for job, _ in self._kept.items() if job.reader is not reader]:
            self._kept.pop(job)

    def forget(self, texts: Iterable[str]) -> None:
        """Drop what is kept of texts; what is being read of them is not kept."""
        gone = set(texts)
        for job in [*self._open, *(job for job, _ in self._kept.items())]:
            if job.text in gone:
                self._open.pop(job, None)
                self._kept.pop(job)

    async def close(self) -> None:
        """Stop after the batch that runs; texts that wait are dropped."""
        await self._queue.close()
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, jobs: Sequence[_TextJob]) -> Sequence[Floats | Exception]:
        begun_s = time.perf_counter()
        read = partial(each_alone_on_error, _read)
        outcomes = await asyncio.get_running_loop().run_in_executor(self._thread, read, jobs)
        self._metrics.texts.observe(time.perf_counter() - begun_s)
        self._metrics.batch.observe(len(jobs))
        for job, outcome in zip(jobs, outcomes, strict=True):
            is_wanted = self._open.pop(job, None) is not None
            if is_wanted and not isinstance(outcome, Exception):
                self._kept.put(job, outcome)
        return outcomes


def each_alone_on_error(
    run: Callable[[Sequence[Job]], Sequence[Result]], jobs: Sequence[Job]
) -> Sequence[Result | Exception]:
    """Run a batch; if it fails, run each job alone, so that an error reaches its own caller only."""
    try:
        return run(jobs)
    except Exception as error:  # noqa: BLE001 - it belongs to the jobs, not to the worker
        if len(jobs) == 1:
            return [error]
    return [outcome for job in jobs for outcome in each_alone_on_error(run, [job])]


def _read(jobs: Sequence[_TextJob]) -> list[Floats]:
    """Read a batch, in the thread; texts of different models are read one model after the other."""
    found: dict[_TextJob, Floats] = {}
    for reader in {job.reader for job in jobs}:
        own = [job for job in jobs if job.reader is reader]
        readings = reader.read([job.text for job in own])
        found |= {job: readings[job.text] for job in own}
    return [found[job] for job in jobs]
