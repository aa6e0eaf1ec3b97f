"""Load on the service, and on a service of some 40 lines around EASE in the same minutes.

    python benchmarks/service_load.py runs/demo --data ml-100k --rates 10,20,40,80 --out docs/results

How it is measured, and what counts as held, stands on the page that it writes: see `service_page`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from commits import commit
from open_loop import (
    Count,
    Phase,
    Unit,
    Wire,
    line_of,
    offer,
    one_by_one,
    saturate,
    with_processor,
    without_pause,
)
from service_page import write_page

from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic

OVERLOAD = 5
SENTENCES_PER_S = 8
WORDS = ("quiet films", "old comedies", "long wars", "robots", "slow dramas", "musicals", "rivers", "ghosts")


def event_and_ranking(
    wire: Wire, items: Sequence[object], users: int, *, name: str = "load", sentence: bool = False
) -> Unit:
    """Return the unit: one event of some user, then that user's ranking; perhaps with a new sentence."""
    rng, numbers = random.Random(0), iter(range(10**9))

    async def unit(count: Count) -> bool:
        body: dict[str, object] = {"events": [{"item": rng.choice(items)}]}
        if sentence:
            body["about"] = new_sentence(rng, next(numbers))
        return await told_and_ranked(wire, count, f"{name}-{rng.randrange(users)}", body) is not None

    return unit


def new_sentence(rng: random.Random, number: int) -> str:
    """Return a sentence that nobody has said before."""
    return f"I am person {number} and like {rng.choice(WORDS)}, {rng.choice(WORDS)} and {rng.choice(WORDS)}"


async def told_and_ranked(
    wire: Wire, count: Count, user: str, body: object
) -> list[dict[str, object]] | None:
    """Send events, then ask for the ranking; returns its items, None without a good answer."""
    status, answer = await wire.ask("POST", f"/v1/users/{user}/events", body)
    count.statuses[str(status)] += 1
    if status != 201:
        return None
    last_seq = json.loads(answer)["last_seq"]
    status, ranking = await wire.ask("GET", f"/v1/users/{user}/recommendations")
    count.statuses[str(status)] += 1
    if status != 200:
        return None
    found = json.loads(ranking)
    count.stale += found["stale"] or found["seq"] < last_seq
    items: list[dict[str, object]] = found["items"]
    return items


async def first_rankings(wire: Wire, items: Sequence[object], kind: str, *, num: int, clients: int) -> Phase:
    """Rank for new users, each once: how many rankings are stale, and how many those of a stranger."""
    rng, numbers = random.Random(kind), iter(range(num))
    _, stranger = await wire.ask("GET", "/v1/users/nobody/recommendations")
    scores = [row["score"] for row in json.loads(stranger)["items"]]

    async def unit(count: Count) -> bool:
        number, body = next(numbers), {}
        if kind != "sentence":
            body["events"] = [{"item": rng.choice(items)}]
        if kind != "event":
            body["about"] = new_sentence(rng, number)
        found = await told_and_ranked(wire, count, f"{kind}-{number}", body)
        count.strangers += found is not None and [row["score"] for row in found] == scores
        return found is not None

    return await without_pause(f"first rankings: {kind}", unit, num=num, clients=clients)


async def measure(
    product: tuple[str, int], ruler: tuple[str, int], options: argparse.Namespace
) -> list[Phase]:
    """Run all phases against the service; the ruler's next to those that it can answer, too."""
    phases: list[Phase] = []

    def note(one: Phase) -> Phase:
        phases.append(one)
        print(line_of(one), flush=True)
        return one

    wires = {name: Wire(address) for name, (address, _) in (("", product), ("EASE: ", ruler))}
    pids = {"": product[1], "EASE: ": ruler[1]}
    _, found = await wires[""].ask("GET", "/v1/items?n=200")
    items = [one["item"] for one in json.loads(found)["items"]]
    fresh = {name: event_and_ranking(wire, items, options.users) for name, wire in wires.items()}
    for name, unit in fresh.items():
        await offer(f"{name}warm-up", unit, rate=min(options.rates), seconds=options.warm_up)
    for name, unit in fresh.items():
        note(await with_processor(pids[name], one_by_one(f"{name}alone", unit, num=options.alone_units)))
    spoken = event_and_ranking(wires[""], items, options.users, sentence=True)
    note(
        await with_processor(
            pids[""], one_by_one("alone, new sentence", spoken, num=options.alone_units // 4)
        )
    )
    best: dict[str, float] = dict.fromkeys(fresh, 0.0)
    for rate in options.rates:
        for name, unit in fresh.items():
            load = offer(f"{name}event + fresh ranking", unit, rate=rate, seconds=options.hold)
            if note(await with_processor(pids[name], load)).is_held:
                best[name] = rate
    best = {name: rate or min(options.rates) for name, rate in best.items()}
    quarter = best["EASE: "] / 4
    load = offer("a quarter of EASE's rate", fresh[""], rate=quarter, seconds=options.hold)
    note(await with_processor(pids[""], load))
    others = event_and_ranking(wires[""], items, options.users, name="speaker", sentence=True)
    both = asyncio.gather(
        offer("the same, beside sentences", fresh[""], rate=quarter, seconds=options.hold),
        offer("the sentences", others, rate=SENTENCES_PER_S, seconds=options.hold),
    )
    for one in await both:
        note(one)
    for kind in ("event", "sentence", "both"):
        note(await first_rankings(wires[""], items, kind, num=options.users, clients=options.clients))
    users = min(options.users, 200)
    await saturate("fill", product[0], users=users, clients=4, seconds=options.warm_up)
    cached = saturate("cached rankings", product[0], users=users, clients=32, seconds=options.cached)
    note(await with_processor(pids[""], cached))
    note(await offer("overload", fresh[""], rate=OVERLOAD * best[""], seconds=options.overload))
    await asyncio.sleep(5)
    note(await offer("5 s after overload", fresh[""], rate=best[""], seconds=options.recovery))
    for wire in wires.values():
        await wire.close()
    return phases


@contextmanager
def started(command: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the address and the process id of a service that a command starts."""
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | one_thread) as service:
        assert service.stdout is not None
        try:
            address = service.stdout.readline().removeprefix("serving at ").strip()
            if not address:
                sys.exit(f"error: {command[1:3]} did not start")
            yield address, service.pid
        finally:
            service.terminate()


def main() -> None:
    """Start both services on fresh stores, load them, write the results."""
    options = _options()
    load_average = os.getloadavg()[0]
    measured = commit("src/warmprompt/service", "src/warmprompt/store")
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or f"sqlite:///{folder}/users.db"
        command = [sys.executable, "-m", "warmprompt", "serve", str(options.run), "--port", "0"]
        command += ["--store", store, "--rate", "0", "--log-level", "WARNING"]
        command += ["--max-batch", str(options.max_batch), "--queue", str(options.queue)]
        ruler = [sys.executable, str(Path(__file__).with_name("ease_service.py")), options.data]
        begun_s = time.perf_counter()
        with started(command) as product:
            ready_s = time.perf_counter() - begun_s
            with started([*ruler, f"{folder}/log.db"]) as other:
                phases = asyncio.run(measure(product, other, options))
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
    parser.add_argument("--data", default="ml-100k", help="data set of the run, for EASE")
    parser.add_argument(
        "--rates", type=_numbers, default=[10.0, 20.0, 40.0, 80.0, 160.0, 320.0], help="units a second"
    )
    parser.add_argument("--hold", type=float, default=60.0, help="seconds at each rate")
    parser.add_argument("--warm-up", type=float, default=5.0, help="seconds before")
    parser.add_argument("--cached", type=float, default=20.0, help="seconds of cached rankings")
    parser.add_argument("--overload", type=float, default=20.0, help="seconds at five times the rate held")
    parser.add_argument("--recovery", type=float, default=20.0, help="seconds at the rate held, 5 s later")
    parser.add_argument("--alone-units", type=int, default=200, help="units one after the other")
    parser.add_argument("--clients", type=int, default=4, help="that ask for first rankings")
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
