"""Load on the service: an event and a fresh ranking at rising rates, cached rankings, overload, recovery.

    python benchmarks/service_load.py runs/demo --rates 10,20,30,40,50 --hold 60 --out docs/results

How it is measured, and what counts as held, stands on the page that it writes: see `service_page`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from commits import commit
from service_page import write_page

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic

P99_LIMIT_MS = 275.0
OVERLOAD = 5
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
        self.ended_s: list[float] = []


Unit = Callable[[Count], Awaitable[bool]]


async def offer(phase: str, unit: Unit, *, rate: float, seconds: float) -> tuple[Phase, Count]:
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
    return _phase(phase, count, rate=rate, seconds=seconds, spent_s=spent_s), count


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


def event_and_ranking(wire: Wire, items: Sequence[object], users: int, *, patient: bool) -> Unit:
    """Return the unit: one event of some user, then that user's ranking."""
    params = "?budget_ms=5000" if patient else ""
    rng = random.Random(0)

    async def unit(count: Count) -> bool:
        user = f"/v1/users/load-{rng.randrange(users)}"
        status, answer = await wire.ask("POST", f"{user}/events", {"events": [{"item": rng.choice(items)}]})
        count.statuses[str(status)] += 1
        if status != 201:
            return False
        last_seq = json.loads(answer)["last_seq"]
        status, ranking = await wire.ask("GET", f"{user}/recommendations{params}")
        count.statuses[str(status)] += 1
        if status != 200:
            return False
        answer = json.loads(ranking)
        fresh = not answer["stale"] and answer["seq"] >= last_seq
        count.stale += not fresh
        return True

    return unit


async def measure(address: str, options: argparse.Namespace) -> list[Phase]:
    """Run all phases against a service."""
    wire = Wire(address)
    _, found = await wire.ask("GET", "/v1/items?n=200")
    items = [one["item"] for one in json.loads(found)["items"]]
    fresh = event_and_ranking(wire, items, options.users, patient=True)
    hurried = event_and_ranking(wire, items, options.users, patient=False)
    phases = [(await offer("warm-up", fresh, rate=min(options.rates), seconds=options.warm_up))[0]]
    for rate in options.rates:
        phases.append((await offer("event + fresh ranking", fresh, rate=rate, seconds=options.hold))[0])
        print(_line(phases[-1]), flush=True)
    best = max((one.rate for one in phases[1:] if one.is_held), default=min(options.rates))
    users = min(options.users, 200)
    await saturate("fill", address, users=users, clients=4, seconds=options.warm_up)
    phases.append(await saturate("cached rankings", address, users=users, clients=32, seconds=options.cached))
    print(_line(phases[-1]), flush=True)
    over, _ = await offer("overload", hurried, rate=OVERLOAD * best, seconds=options.overload)
    phases.append(over)
    print(_line(over), flush=True)
    await asyncio.sleep(5)
    phases.append((await offer("5 s after overload", fresh, rate=best, seconds=options.recovery))[0])
    print(_line(phases[-1]), flush=True)
    await wire.close()
    return phases


def main() -> None:
    """Start a service on a fresh store, load it, write the results."""
    options = _options()
    load_average = os.getloadavg()[0]
    measured = commit("src/warmprompt/service", "src/warmprompt/store")
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or f"sqlite:///{folder}/users.db"
        command = [sys.executable, "-m", "warmprompt", "serve", str(options.run), "--port", "0"]
        command += ["--store", store, "--rate", "0", "--log-level", "WARNING"]
        command += ["--max-batch", str(options.max_batch), "--queue", str(options.queue)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as service:
            assert service.stdout is not None
            try:
                begun_s = time.perf_counter()
                address = service.stdout.readline().removeprefix("serving at ").strip()
                if not address:
                    sys.exit("error: the service did not start")
                ready_s = time.perf_counter() - begun_s
                print(f"ready in {ready_s:.1f} s at {address}", flush=True)
                phases = asyncio.run(measure(address, options))
            finally:
                service.terminate()
    report = {
        "command": _command(),
        "store": "PostgreSQL" if store.startswith("postgresql") else "SQLite",
        "max_batch": options.max_batch,
        "queue": options.queue,
        "users": options.users,
        "scheduling": scheduling(),
        "note": options.note,
        "alone": options.alone,
        "load_average": round(load_average, 1),
        "commit": measured,
        "ready_s": round(ready_s, 1),
        "machine": describe_machine(),
        "phases": [asdict(one) | {"held": one.is_held} for one in phases],
    }
    name = options.name
    write_atomic(options.out / f"{name}.json", (json.dumps(report, indent=1) + "\n").encode())
    write_page(options.out)


def scheduling() -> str:
    """Return how the system shares the processor out to this process and to the service that it starts."""
    names = {os.SCHED_RR: "real-time round-robin", os.SCHED_FIFO: "real-time first-in first-out"}
    return names.get(os.sched_getscheduler(0), f"nice {os.nice(0)}")


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
    )


def _line(one: Phase) -> str:
    rate = f"{one.rate:g}/s" if one.rate else "as fast as it goes"
    return (
        f"{one.phase}, {rate}, {one.seconds:g} s: {one.per_s:g}/s done, p50 {one.p50_ms} "
        f"p95 {one.p95_ms} p99 {one.p99_ms} ms, stale {one.stale}, {one.statuses}, failed {one.failed}"
    )


def _command() -> str:
    """Return how this was called, without the note, and without where a database is."""
    words = sys.argv[1:]
    if "--note" in words:
        del words[words.index("--note") : words.index("--note") + 2]
    command = " ".join(["python", "benchmarks/service_load.py", *words])
    return re.sub(r"postgresql://\S+", "postgresql://...", command)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of a trained run")
    parser.add_argument(
        "--rates", type=_numbers, default=[10.0, 20.0, 30.0, 40.0, 50.0], help="units a second"
    )
    parser.add_argument("--hold", type=float, default=60.0, help="seconds at each rate")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before")
    parser.add_argument("--cached", type=float, default=20.0, help="seconds of cached rankings")
    parser.add_argument("--overload", type=float, default=20.0, help="seconds at five times the rate held")
    parser.add_argument("--recovery", type=float, default=20.0, help="seconds at half the rate, 5 s later")
    parser.add_argument("--users", type=int, default=1000, help="users that the load comes from")
    parser.add_argument("--max-batch", type=int, default=8, help="as warmprompt serve")
    parser.add_argument("--queue", type=int, default=64, help="as warmprompt serve")
    parser.add_argument("--store", default="", help="address of a database; a fresh SQLite file without it")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder for the results")
    parser.add_argument("--alone", action="store_true", help="say on the page that the machine was quiet")
    parser.add_argument("--note", default="", help="what a reader should know of this run, for the page")
    parser.add_argument("--name", default="service-load", help="of the JSON file; begins with service-load")
    return parser.parse_args()


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
