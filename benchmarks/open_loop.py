"""Load in an open loop: units begin at scheduled times, whether or not earlier ones have ended."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

P99_LIMIT_MS = 275.0
_PATIENCE_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What one phase of load showed.

    Attributes:
        phase: Its name.
        rate: Units begun a second, as scheduled.
        seconds: How long units were begun.
        done: Units that ended well.
        per_s: Units that ended well, a second, until the last one ended.
        p50_ms, p95_ms, p99_ms: Latency of these, from the scheduled moment.
        stale: Rankings that did not know the event.
        statuses: Answers by status.
        failed: Requests without an answer.
        cpu_ms: Processor time of the service for a unit, milliseconds.
        strangers: Rankings that are those of a user without history.
    """

    phase: str
    rate: float
    seconds: float
    done: int
    per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    stale: int
    statuses: dict[str, int]
    failed: int
    cpu_ms: float = 0.0
    strangers: int = 0

    @property
    def is_held(self) -> bool:
        """Whether the service kept up with this rate."""
        good = set(self.statuses) <= {"200", "201"}
        return good and self.failed == 0 and self.stale == 0 and self.p99_ms < P99_LIMIT_MS


class Wire:
    """Requests over plain connections that are kept; a full HTTP client costs more than the service's answer.

    Args:
        address: Of the service, http://host:port.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.removeprefix("http://").partition(":")
        self._port = int(port)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        """Return status and body of the answer.

        Raises:
            OSError, asyncio.IncompleteReadError: There is none.
        """
        reader, writer = await self._connection()
        content = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(answer.partition(b"content-length: ")[2].partition(b"\r")[0])
        content = await reader.readexactly(length)
        self._free.append((reader, writer))
        return int(answer[9:12]), content

    async def close(self) -> None:
        """Close all connections."""
        for _, writer in self._free:
            writer.close()
        self._free.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._free:
            reader, writer = self._free.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self._host, self._port)


class Count:
    """Latencies and statuses of one phase, as they come in."""

    def __init__(self) -> None:
        self.ms: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.stale = 0
        self.failed = 0
        self.strangers = 0
        self.ended_s: list[float] = []


Unit = Callable[[Count], Awaitable[bool]]


async def offer(phase: str, unit: Unit, *, rate: float, seconds: float) -> Phase:
    """Begin units at a rate, one after the other at even distances, and wait for all of them."""
    count, tasks = Count(), set()
    begun_s = time.perf_counter()

    async def run(scheduled_s: float) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                good = await unit(count)
        except (OSError, asyncio.IncompleteReadError):  # a timeout is an OSError
            count.failed += 1
            return
        now_s = time.perf_counter()
        if good:
            count.ms.append(1000 * (now_s - scheduled_s))
            count.ended_s.append(now_s - begun_s)

    for number in range(max(1, int(rate * seconds))):
        scheduled_s = begun_s + number / rate
        await asyncio.sleep(max(0.0, scheduled_s - time.perf_counter()))
        task = asyncio.create_task(run(scheduled_s))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    spent_s = time.perf_counter() - begun_s
    return _phase(phase, count, rate=rate, seconds=seconds, spent_s=spent_s)


async def saturate(phase: str, address: str, *, users: int, clients: int, seconds: float) -> Phase:
    """Let clients ask for rankings of users without a pause: the most that is answered."""
    count, wire = Count(), Wire(address)
    begun_s = time.perf_counter()

    async def client(number: int) -> None:
        rng = random.Random(number)
        while (sent_s := time.perf_counter()) < begun_s + seconds:
            status, _ = await wire.ask("GET", f"/v1/users/load-{rng.randrange(users)}/recommendations")
            count.statuses[str(status)] += 1
            if status == 200:
                count.ms.append(1000 * (time.perf_counter() - sent_s))

    await asyncio.gather(*(client(number) for number in range(clients)))
    await wire.close()
    return _phase(phase, count, rate=0.0, seconds=seconds, spent_s=time.perf_counter() - begun_s)


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def one_by_one(phase: str, unit: Unit, *, num: int, pause_s: float = 0.05) -> Phase:
    """Run units one after the other, a pause between them: nobody else is there."""
    count, begun_s = Count(), time.perf_counter()
    for _ in range(num):
        sent_s = time.perf_counter()
        if await unit(count):
            count.ms.append(1000 * (time.perf_counter() - sent_s))
        await asyncio.sleep(pause_s)
    return _phase(phase, count, rate=0.0, seconds=0.0, spent_s=time.perf_counter() - begun_s)


async def without_pause(phase: str, unit: Unit, *, num: int, clients: int) -> Phase:
    """Run units by some clients, each one after the other without a pause."""
    count, left, begun_s = Count(), iter(range(num)), time.perf_counter()

    async def client() -> None:
        for _ in left:
            sent_s = time.perf_counter()
            if await unit(count):
                count.ms.append(1000 * (time.perf_counter() - sent_s))

    await asyncio.gather(*(client() for _ in range(clients)))
    spent_s = time.perf_counter() - begun_s
    return _phase(phase, count, rate=0.0, seconds=round(spent_s, 1), spent_s=spent_s)


async def with_processor(pid: int, phase: Awaitable[Phase]) -> Phase:
    """Return a phase with the service's processor time for a unit; states written after it count."""
    begun_s = processor_s(pid)
    found = await phase
    await asyncio.sleep(1.0)
    return replace(found, cpu_ms=round(1000 * (processor_s(pid) - begun_s) / max(1, found.done), 2))


def line_of(one: Phase) -> str:
    """Return a phase in one line."""
    rate = f"{one.rate:g}/s" if one.rate else "closed loop"
    return (
        f"{one.phase}, {rate}, {one.seconds:g} s: {one.per_s:g}/s done, p50 {one.p50_ms} "
        f"p95 {one.p95_ms} p99 {one.p99_ms} ms, stale {one.stale}, {one.statuses}, failed {one.failed}, "
        f"processor {one.cpu_ms} ms a unit, {one.strangers} of a stranger"
    )


def _phase(phase: str, count: Count, *, rate: float, seconds: float, spent_s: float) -> Phase:
    ms = sorted(count.ms) or [float("nan")]
    quantiles = statistics.quantiles(ms, n=100, method="inclusive") if len(ms) > 1 else ms * 99
    return Phase(
        phase=phase,
        rate=rate,
        seconds=seconds,
        done=len(count.ms),
        per_s=round(len(count.ms) / spent_s, 2),
        p50_ms=round(quantiles[49], 1),
        p95_ms=round(quantiles[94], 1),
        p99_ms=round(quantiles[98], 1),
        stale=count.stale,
        statuses=dict(sorted(count.statuses.items())),
        failed=count.failed,
        strangers=count.strangers,
    )
