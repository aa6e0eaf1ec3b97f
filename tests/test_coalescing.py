"""The queue behind coalescing; adaptation batches, log heads and group commit test it in use."""

from concurrent.futures import Future

import pytest

from warmprompt.coalescing import BatchQueue, QueueFullError


def test_batches_are_taken_oldest_first():
    queue = BatchQueue(largest=2)
    for job in range(3):
        queue.put(job, Future())
    assert [[one.job for one in queue.take()] for _ in range(3)] == [[0, 1], [2], []]


def test_returned_jobs_keep_their_order():
    queue = BatchQueue(largest=3)
    for job in range(4):
        queue.put(job, Future())
    queue.put_back(queue.take()[1:])
    assert [one.job for one in queue.take()] == [1, 2, 3]


def test_withdrawn_and_cancelled_jobs_are_skipped():
    queue = BatchQueue(largest=2)
    pending = [queue.put(job, Future()) for job in range(4)]
    queue.withdraw(pending[0])
    pending[1].future.cancel()
    assert [one.job for one in queue.take()] == [2, 3]
    queue.withdraw(pending[2])  # already taken: nothing to remove


def test_limit_counts_waiting_jobs_only():
    queue = BatchQueue(largest=2, limit=2, name="queue of tests")
    queue.put(0, Future())
    queue.put(1, Future())
    with pytest.raises(QueueFullError, match="queue of tests"):
        queue.put(2, Future())
    queue.take()
    queue.put(2, Future())


def test_outcome_is_delivered_once():
    queue = BatchQueue(largest=2)
    first, second = queue.put(0, Future()), queue.put(1, Future())
    first.deliver("result")
    first.deliver(ValueError("late"))
    second.deliver(ValueError("failed"))
    assert first.future.result() == "result"
    with pytest.raises(ValueError, match="failed"):
        second.future.result()
