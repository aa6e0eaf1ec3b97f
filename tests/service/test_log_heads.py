"""Log heads: shared queries, answers never older than the question, limits, errors to all."""

import asyncio

import pytest

from warmprompt.coalescing import QueueFullError
from warmprompt.errors import DatabaseAwayError
from warmprompt.service.log_heads import log_heads
from warmprompt.store.contract import Head
from warmprompt.store.evidence import NO_EVIDENCE


class Log:
    """Ends of logs that the test moves; answers as of when it was asked, once the test lets it."""

    def __init__(self, **ends):
        self.ends = ends
        self.asked = []
        self.gates = []

    async def find(self, users):
        self.asked.append(list(users))
        found = [
            Head(user=user, last_seq=self.ends[user], evidence_hash=NO_EVIDENCE)
            for user in users
            if user in self.ends
        ]
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return found

    async def begins(self, heads, *users):
        """Let questions go out one by one, up to as many as may be under way."""
        tasks = []
        for user in users:
            tasks.append(asyncio.create_task(heads.shared(user)))
            await self.has_asked(len(tasks))
        return tasks

    async def has_asked(self, times):
        while len(self.asked) < times:
            await asyncio.sleep(0)


def run(talk):
    return asyncio.run(asyncio.wait_for(talk(), timeout=10))


def test_later_questions_share_a_fresh_query():
    async def talk():
        log = Log(a=1, b=1, c=1)
        heads = log_heads(log.find, limit=10)
        first = await log.begins(heads, "a", "b")
        log.ends |= {"a": 2, "c": 5}
        later = [asyncio.create_task(heads.shared(user)) for user in ("a", "c", "a", "nobody")]
        await asyncio.sleep(0)
        assert len(log.asked) == 2
        log.gates[0].set_result(None)
        await log.has_asked(3)
        for gate in log.gates[1:]:
            gate.set_result(None)
        return log, await asyncio.gather(*first), await asyncio.gather(*later)

    log, first, later = run(talk)
    assert log.asked == [["a"], ["b"], ["a", "c", "nobody"]]
    assert [head.last_seq for head in first] == [1, 1]
    assert [head and head.last_seq for head in later] == [2, 5, 2, None]


def test_error_reaches_all_waiting_callers_only():
    async def talk():
        away = [True]

        async def find(users):
            await asyncio.sleep(0)
            if away[0]:
                raise DatabaseAwayError(field="database", value="there", remedy="Later.")
            return [Head(user=user, last_seq=1, evidence_hash=NO_EVIDENCE) for user in users]

        heads = log_heads(find, limit=10)
        met = await asyncio.gather(*(heads.shared(user) for user in "abcd"), return_exceptions=True)
        away[0] = False
        return met, await heads.shared("a")

    met, after = run(talk)
    assert [type(one) for one in met] == [DatabaseAwayError] * 4
    assert after.last_seq == 1


def test_cancelling_and_limit_leave_others_alone():
    async def talk():
        log = Log(a=1, b=1, c=1, d=1)
        heads = log_heads(log.find, limit=1)
        under_way = await log.begins(heads, "a", "b")
        impatient, patient = (asyncio.create_task(heads.shared("c")) for _ in range(2))
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="queue of the database"):
            await heads.shared("d")
        impatient.cancel()
        for gate in log.gates:
            gate.set_result(None)
        await log.has_asked(3)
        log.gates[2].set_result(None)
        await asyncio.gather(*under_way)
        return (await patient).last_seq, impatient.cancelled()

    assert run(talk) == (1, True)


def test_question_at_the_last_moment_is_answered():
    async def talk():
        gate = asyncio.get_running_loop().create_future()
        asked = []

        async def find(users):
            asked.append(list(users))
            await asyncio.shield(gate)
            return [Head(user=user, last_seq=1, evidence_hash=NO_EVIDENCE) for user in users]

        heads = log_heads(find, limit=10)
        first = [asyncio.create_task(heads.shared("a"))]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.append(asyncio.create_task(heads.shared("b")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert asked == [["a"], ["b"]]
        # Wakes in the same turn of the loop as both questions, right after them.
        late = asyncio.create_task(_then(asyncio.shield(gate), lambda: heads.shared("c")))
        await asyncio.sleep(0)
        gate.set_result(None)
        await asyncio.gather(*first)
        return (await late).user

    assert run(talk) == "c"


async def _then(event, call):
    await event
    return await call()


def test_closing_cancels_every_caller():
    async def talk():
        log = Log(a=1)
        heads = log_heads(log.find, limit=10)
        waiting = [*await log.begins(heads, "a", "b"), asyncio.create_task(heads.shared("c"))]
        await asyncio.sleep(0)
        await heads.close()
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(one) for one in run(talk)] == [asyncio.CancelledError] * 3
