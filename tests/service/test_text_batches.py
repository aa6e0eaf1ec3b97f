"""Batches of texts: gathering, limits and errors, with a worker that the test blocks."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from warmprompt.coalescing import Coalescer, QueueFullError
from warmprompt.service.text_worker import each_alone_on_error


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


def in_thread(worker, executor, **limits):
    """Return a coalescer whose batches run in a thread."""

    async def run(jobs):
        return await asyncio.get_running_loop().run_in_executor(executor, each_alone_on_error, worker, jobs)

    return Coalescer(run, **{"name": "queue of texts", "largest": 8, "limit": 64} | limits)


def run_scenario(scenario, **limits):
    """Run a coroutine function of (batcher, worker) and return what it returns."""
    worker = Worker()

    async def talk():
        with ThreadPoolExecutor(1) as executor:
            batcher = in_thread(worker, executor, **limits)
            try:
                return await asyncio.wait_for(scenario(batcher, worker), timeout=30)
            finally:
                worker.gate.set()
                await batcher.close()

    return asyncio.run(talk()), worker


async def begun(worker, batcher, job):
    """Let a job occupy the worker and return its future."""
    worker.gate.clear()
    first = batcher.submit(job)
    while len(batcher):
        await asyncio.sleep(0.001)
    return first


def test_simultaneous_jobs_share_ordered_batches():
    async def scenario(batcher, _worker):
        return await asyncio.gather(*(batcher.submit(job) for job in range(10)))

    results, worker = run_scenario(scenario, largest=4, window_s=0.01)
    assert results == [2 * job for job in range(10)]
    assert worker.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_jobs_gather_while_a_batch_runs():
    async def scenario(batcher, worker):
        first = await begun(worker, batcher, 1)
        others = [batcher.submit(job) for job in (2, 3)]
        worker.gate.set()
        return await asyncio.gather(first, *others)

    results, worker = run_scenario(scenario, largest=8, window_s=0)
    assert results == [2, 4, 6]
    assert worker.batches == [[1], [2, 3]]


def test_full_queue_refuses_then_reopens():
    async def scenario(batcher, worker):
        first = await begun(worker, batcher, 1)
        waiting = [batcher.submit(job) for job in (2, 3, 4)]
        with pytest.raises(QueueFullError, match="queue of texts"):
            batcher.submit(5)
        worker.gate.set()
        await asyncio.gather(first, *waiting)
        return await batcher.submit(6)

    result, _ = run_scenario(scenario, largest=2, window_s=0, limit=3)
    assert result == 12


def test_error_reaches_its_own_job_only():
    async def scenario(batcher, _worker):
        return await asyncio.gather(*(batcher.submit(job) for job in (1, -1, 3)), return_exceptions=True)

    (one, two, three), worker = run_scenario(scenario, largest=8, window_s=0.01)
    assert (one, three) == (2, 6)
    assert isinstance(two, ValueError)
    assert worker.batches == [[1, -1, 3], [1], [-1], [3]]


def test_cancelled_job_leaves_the_queue():
    async def scenario(batcher, worker):
        first = await begun(worker, batcher, 1)
        leaving, staying = batcher.submit(2), batcher.submit(3)
        leaving.cancel()
        worker.gate.set()
        return await asyncio.gather(first, staying)

    results, worker = run_scenario(scenario, largest=8, window_s=0)
    assert results == [2, 6]
    assert worker.batches == [[1], [3]]


def test_cancelling_a_running_job_affects_nobody_else():
    async def scenario(batcher, worker):
        first = await begun(worker, batcher, 1)
        first.cancel()
        second = batcher.submit(2)
        worker.gate.set()
        return await second

    result, worker = run_scenario(scenario, largest=8, window_s=0)
    assert result == 4
    assert worker.batches == [[1], [2]]


def test_closing_cancels_waiting_jobs():
    async def scenario(batcher, worker):
        await begun(worker, batcher, 1)
        waiting = batcher.submit(2)
        worker.gate.set()
        await batcher.close()
        return waiting.cancelled() or waiting.done()

    left, _ = run_scenario(scenario, largest=1, window_s=0)
    assert left


def test_batches_begin_in_the_event_loop():
    begun = []

    async def run(jobs):
        begun.append((threading.current_thread() is threading.main_thread(), list(jobs)))
        return jobs

    async def scenario():
        batcher = Coalescer(run, name="queue", largest=2, limit=64, window_s=0.01)
        await asyncio.gather(*(batcher.submit(job) for job in range(3)))
        await batcher.close()

    asyncio.run(scenario())
    assert begun == [(True, [0, 1]), (True, [2])]
