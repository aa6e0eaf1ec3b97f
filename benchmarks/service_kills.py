"""Rounds of SIGKILL on a service under load, over HTTP: what it acknowledged must be there, once.

    python benchmarks/service_kills.py runs/demo --rounds 50 --out docs/results

In each round a service is started, clients send events of a few users and ask for rankings, and the service
is killed at a random moment; on PostgreSQL the server crashes first in every second round. Requests that got
no answer are sent again in the next round with the same idempotency key, as clients do. After each round the
store is read past the service: every acknowledged event is in its place, every log is made of its keyed
requests, each once and whole, and every stored state equals the one rebuilt from the first entries of the
log, bit for bit.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from commits import commit
from service_page import write_page

from store import postgresql
from warmprompt.adaptation.opening import open_run
from warmprompt.backbone.threads import use_threads
from warmprompt.evaluation.machine import describe_machine
from warmprompt.files import write_atomic
from warmprompt.service.cached_user import AdaptedState, stored_form
from warmprompt.service.model.served_model import ServedModel, adapt_all, make_model
from warmprompt.service.settings import ServiceSettings
from warmprompt.service.user_history import UserHistory, apply_entries, entry_of, model_inputs
from warmprompt.store.contract import Store
from warmprompt.store.opening import open_store
from warmprompt.types import Event

USERS, CLIENTS = 5, 6


@dataclass(frozen=True, kw_only=True)
class Request:
    """Some events of a user under one key."""

    user: str
    key: str
    events: tuple[tuple[Any, float], ...]

    @property
    def bodies(self) -> list[str]:
        """What the log must hold."""
        return [entry_of(Event(item=item, rating=rating)).body for item, rating in self.events]


@dataclass(kw_only=True)
class Talk:
    """All that was said so far.

    Attributes:
        acknowledged: Requests answered with 201, with the places of their entries.
        unanswered: Requests that got no answer, to be sent again.
        statuses: Answers by status.
        rankings: Rankings answered.
    """

    acknowledged: list[tuple[Request, int, int]] = field(default_factory=list)
    unanswered: list[Request] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    rankings: int = 0


async def talk_until_killed(address: str, service: subprocess.Popen[str], round_: Round) -> None:
    """Send events and ask for rankings until the service is gone."""
    again, round_.talk.unanswered = round_.talk.unanswered, []
    limits = httpx.Limits(max_connections=2 * CLIENTS)
    async with httpx.AsyncClient(base_url=address, limits=limits, timeout=60) as client:

        async def kill_later() -> None:
            await asyncio.sleep(round_.rng.uniform(0.2, 1.5))
            round_.crash()
            await asyncio.sleep(round_.rng.uniform(0.0, 0.05))
            service.send_signal(signal.SIGKILL)

        async def talk(number: int) -> None:
            for count in range(10**6):
                request = again.pop() if again else round_.request(f"{number}-{count}")
                try:
                    await round_.tell(client, request)
                    await round_.ask(client, request.user)
                except httpx.HTTPError:
                    return

        await asyncio.gather(kill_later(), *(talk(number) for number in range(CLIENTS)))
    round_.talk.unanswered += again
    service.wait()


@dataclass(kw_only=True)
class Round:
    """One life of a service."""

    number: int
    rng: random.Random
    items: tuple[Any, ...]
    talk: Talk
    crash: Any

    def request(self, name: str) -> Request:
        """Return news of somebody."""
        events = tuple(
            (self.rng.choice(self.items), float(self.rng.randrange(1, 6)))
            for _ in range(self.rng.randint(1, 2))
        )
        return Request(user=f"user {self.rng.randrange(USERS)}", key=f"{self.number}-{name}", events=events)

    async def tell(self, client: httpx.AsyncClient, request: Request) -> None:
        """Send events; a request without a clear answer is kept to be sent again."""
        body = {"events": [{"item": item, "rating": rating} for item, rating in request.events]}
        try:
            answer = await client.post(
                f"/v1/users/{request.user}/events", json=body, headers={"Idempotency-Key": request.key}
            )
        except httpx.HTTPError:
            self.talk.unanswered.append(request)
            raise
        self.talk.statuses[answer.status_code] = self.talk.statuses.get(answer.status_code, 0) + 1
        if answer.status_code == 201:
            body = answer.json()
            self.talk.acknowledged.append((request, body["first_seq"], body["last_seq"]))
        else:
            self.talk.unanswered.append(request)

    async def ask(self, client: httpx.AsyncClient, user: str) -> None:
        """Ask for a ranking, so that states are made."""
        answer = await client.get(f"/v1/users/{user}/recommendations")
        self.talk.rankings += answer.status_code == 200


def check(store: Store, model: ServedModel, talk: Talk) -> dict[str, int]:
    """Raise AssertionError where a promise was broken; return what was found."""
    entries = states = 0
    logs = {}
    for number in range(USERS):
        user = f"user {number}"
        export = store.export(user)
        if export is None:
            continue
        log = logs[user] = export.entries
        entries += len(log)
        places = sorted((first, last) for _, first, last in export.idempotency_keys)
        assert [entry.seq for entry in log] == list(range(1, len(log) + 1)), "a gap"
        ends = [0, *(last for _, last in places)]
        assert [first for first, _ in places] == [end + 1 for end in ends[:-1]], "an entry twice or half"
        assert ends[-1] == len(log), "an entry without its key"
        for state in export.states:
            if state.model_hash == model.version:
                history = apply_entries(UserHistory(), log[: state.seq])
                known, left_out = model_inputs(history, model.personaliser)
                again = AdaptedState(
                    version=model.version,
                    seq=history.seq,
                    evidence_hash=history.evidence_hash,
                    state=adapt_all(model, [known])[0],
                    left_out=left_out,
                )
                assert stored_form(again) == state, "a state differs from its rebuild"
                states += 1
    for request, first, last in talk.acknowledged:
        found = [entry.body for entry in logs[request.user][first - 1 : last]]
        assert found == request.bodies, f"lost or changed: {request.key}"
    return {"entries": entries, "states": states}


@contextmanager
def serving(run: Path, store: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Yield the address of a service and its process."""
    command = [sys.executable, "-m", "warmprompt", "serve", str(run), "--port", "0", "--store", store]
    command += ["--rate", "0", "--log-level", "ERROR", "--no-explain"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert service.stdout is not None
        address = service.stdout.readline().removeprefix("serving at ").strip()
        assert address, "the service did not start"
        yield address, service
    finally:
        service.kill()
        service.wait()


def main() -> None:
    """Kill services, round by round, and write what was found after each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--databases", default="sqlite,postgresql")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    chosen = parser.parse_args()
    run = open_run(chosen.run)
    use_threads(1)
    settings = ServiceSettings()
    model = make_model(run, room=settings.room, largest_batch=settings.batch.largest)
    file = chosen.out / "service-kills.json"
    report = {
        "machine": describe_machine(),
        "commit": commit("src/warmprompt/service", "src/warmprompt/store"),
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, postgresql() as server:
        stores = {"sqlite": f"sqlite:///{folder}/users.db", "postgresql": server.url}
        for name in chosen.databases.split(","):
            talk, rng = Talk(), random.Random(0)
            for number in range(chosen.rounds):
                crashes = name == "postgresql" and number % 2 == 1
                crash = (lambda: server.stop(how="immediate")) if crashes else (lambda: None)
                with serving(chosen.run, stores[name]) as (address, service):
                    round_ = Round(number=number, rng=rng, items=run.items[:300], talk=talk, crash=crash)
                    asyncio.run(talk_until_killed(address, service, round_))
                if crashes:
                    server.start()
                with open_store(stores[name]) as store:
                    counts = check(store, model, talk)
                found[name] = counts | {
                    "rounds": number + 1,
                    "server_crashes": (number + 1) // 2 * (name == "postgresql"),
                    "acknowledged": len(talk.acknowledged),
                    "acknowledged_events": sum(len(one.events) for one, _, _ in talk.acknowledged),
                    "statuses": talk.statuses,
                    "rankings": talk.rankings,
                }
                print(name, found[name], flush=True)
                write_atomic(file, (json.dumps(report | {"databases": found}, indent=1) + "\n").encode())
                write_page(chosen.out)


if __name__ == "__main__":
    main()
