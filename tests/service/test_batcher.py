"""Batches, bounds and who gets which error, with a worker that the test holds."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from warmprompt.service.batcher import Batcher, BatchLimits, QueueFullError


class Worker:
    """Doubles numbers; waits for the gate; fails for negative ones."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, jobs):
        self.gate.wait(30)
        self.batches.append(list(jobs))
        if any(job < 0 for job in jobs):
            raise ValueError("negative")
        return [2 * job for job in jobs]


def talking(conversation, **limits):
    """Run a coroutine function of (batcher, worker) and return what it returns."""
    worker = Worker()

    async def talk():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(worker, limits=BatchLimits(**limits), executor=executor)
            batcher.start()
            try:
                return await asyncio.wait_for(conversation(batcher, worker), timeout=30)
            finally:
                worker.gate.set()
                await batcher.close()

    return asyncio.run(talk()), worker


async def begun(worker, batcher, job):
    """Let a job occupy the worker and return its future."""
    worker.gate.clear()
    first = batcher.submit(job)
    while batcher.waiting:
        await asyncio.sleep(0.001)
    return first


def test_jobs_of_one_moment_share_a_batch_in_order():
    async def talk(batcher, _worker):
        return await asyncio.gather(*(batcher.submit(job) for job in range(10)))

    results, worker = talking(talk, largest=4, window_s=0.01)
    assert results == [2 * job for job in range(10)]
    assert worker.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_what_comes_while_the_worker_is_busy_is_the_next_batch():
    async def talk(batcher, worker):
        first = await begun(worker, batcher, 1)
        others = [batcher.submit(job) for job in (2, 3)]
        worker.gate.set()
        return await asyncio.gather(first, *others)

    results, worker = talking(talk, largest=8, window_s=0)
    assert results == [2, 4, 6]
    assert worker.batches == [[1], [2, 3]]


def test_the_queue_is_bounded_and_opens_again():
    async def talk(batcher, worker):
        first = await begun(worker, batcher, 1)
        waiting = [batcher.submit(job) for job in (2, 3, 4)]
        with pytest.raises(QueueFullError, match="queue of adaptations"):
            batcher.submit(5)
        worker.gate.set()
        await asyncio.gather(first, *waiting)
        return await batcher.submit(6)

    result, _ = talking(talk, largest=2, window_s=0, queue=3)
    assert result == 12


def test_an_error_reaches_only_its_own_request():
    async def talk(batcher, _worker):
        return await asyncio.gather(*(batcher.submit(job) for job in (1, -1, 3)), return_exceptions=True)

    (one, two, three), worker = talking(talk, largest=8, window_s=0.01)
    assert (one, three) == (2, 6)
    assert isinstance(two, ValueError)
    assert worker.batches == [[1, -1, 3], [1], [-1], [3]]


def test_who_gives_up_takes_their_job_out():
    async def talk(batcher, worker):
        first = await begun(worker, batcher, 1)
        leaving, staying = batcher.submit(2), batcher.submit(3)
        leaving.cancel()
        worker.gate.set()
        return await asyncio.gather(first, staying)

    results, worker = talking(talk, largest=8, window_s=0)
    assert results == [2, 6]
    assert worker.batches == [[1], [3]]


def test_who_gives_up_while_their_job_runs_disturbs_nobody():
    async def talk(batcher, worker):
        first = await begun(worker, batcher, 1)
        first.cancel()
        second = batcher.submit(2)
        worker.gate.set()
        return await second

    result, worker = talking(talk, largest=8, window_s=0)
    assert result == 4
    assert worker.batches == [[1], [2]]


def test_closing_cancels_what_waits():
    async def talk(batcher, worker):
        await begun(worker, batcher, 1)
        waiting = batcher.submit(2)
        worker.gate.set()
        await batcher.close()
        return waiting.cancelled() or waiting.done()

    left, _ = talking(talk, largest=1, window_s=0)
    assert left


def test_begun_is_told_the_jobs_of_a_batch():
    told = []

    async def talk():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(
                list,
                limits=BatchLimits(largest=2, window_s=0.01),
                executor=executor,
                begun=lambda jobs: told.append(list(jobs)),
            )
            batcher.start()
            await asyncio.gather(*(batcher.submit(job) for job in range(3)))
            await batcher.close()

    asyncio.run(talk())
    assert told == [[0, 1], [2]]
