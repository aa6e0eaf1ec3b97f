"""How long a service takes to stop in each state, and what it answers and loses when its file fails.

    python benchmarks/service_faults.py runs/demo

Each row starts a service of its own on a fresh SQLite file. The disk is made full by a limit on the size of
the process's files, set and lifted while it runs. "Lost" counts acknowledged events that the file, put back
where it was, does not have. The exit code is 1 if a stop takes ten seconds or an event is lost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from warmprompt.store.opening import open_store

_STOP_S = 10.0
_LEAVE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service under trial: its process, its address, its file, and an item of its catalogue."""

    process: subprocess.Popen[str]
    address: str
    file: Path
    item: str | int

    def events(self) -> dict[str, object]:
        """Return the body of a request with one event."""
        return {"events": [{"item": self.item}], "about": "I like quiet films"}


@contextmanager
def serving(run: Path, folder: Path) -> Iterator[Running]:
    """Yield a service on a fresh file."""
    file = folder / "users.db"
    command = [sys.executable, "-m", "warmprompt", "serve", str(run), "--port", "0", "--rate", "0"]
    command += ["--store", f"sqlite:///{file}", "--log-level", "ERROR"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().removeprefix("serving at ").strip()
            item = httpx.get(f"{address}/v1/items?n=1", timeout=60).json()["items"][0]["item"]
            yield Running(process=process, address=address, file=file, item=item)
        finally:
            process.kill()


async def in_flight(service: Running) -> None:
    """Leave twelve users' events and rankings under way."""
    await _abandon(service, "recommendations?budget_ms=10000", num_users=12, leave_s=0.05)


async def explaining(service: Running) -> None:
    """Abandon eight explanations."""
    await _abandon(service, "recommendations?explain=true&n=10", num_users=8)


async def writing_sentences(service: Running) -> None:
    """Abandon eight sentences of the language model."""
    found = httpx.get(f"{service.address}/v1/items?n=2").json()["items"][1]["item"]
    await _abandon(service, f"sentence?item={found}", num_users=8)


async def half_sent(service: Running) -> None:
    """Leave ten requests half sent; the connections are open until this process ends."""
    port = int(service.address.rpartition(":")[2])
    for _ in range(10):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.sendall(b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{")
        _OPEN.append(connection)


async def reloading(service: Running) -> None:
    """Leave a reload under way."""
    async with httpx.AsyncClient(base_url=service.address) as client:
        task = asyncio.create_task(client.post("/v1/admin/reload"))
        await asyncio.sleep(0.2)
        task.cancel()


async def idle(service: Running) -> None:
    """Do nothing."""


_OPEN: list[socket.socket] = []


async def _abandon(service: Running, what: str, *, num_users: int, leave_s: float = _LEAVE_S) -> None:
    async with httpx.AsyncClient(base_url=service.address, timeout=60) as client:
        for user in range(num_users):
            await client.post(f"/v1/users/u{user}/events", json=service.events())
        tasks = [asyncio.create_task(client.get(f"/v1/users/u{user}/{what}")) for user in range(num_users)]
        await asyncio.sleep(leave_s)
        for task in tasks:
            task.cancel()


def seconds_to_stop(run: Path, state: Callable[[Running], Awaitable[None]]) -> tuple[float, int]:
    """Return how long a service takes to stop in a state, and the acknowledged events it lost."""
    with tempfile.TemporaryDirectory() as folder, serving(run, Path(folder)) as service:
        httpx.post(f"{service.address}/v1/users/ada/events", json=service.events()).raise_for_status()
        asyncio.run(state(service))
        begun_s = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait()
        return time.monotonic() - begun_s, _lost(service, ["ada"])


@contextmanager
def deleted(service: Running) -> Iterator[None]:
    """Move the file away, and back."""
    away = service.file.rename(service.file.with_name("away.db"))
    yield
    away.replace(service.file)


@contextmanager
def replaced(service: Running) -> Iterator[None]:
    """Put a copy in the file's place, and the file back."""
    away = service.file.rename(service.file.with_name("away.db"))
    service.file.write_bytes(away.read_bytes())
    yield
    away.replace(service.file)


@contextmanager
def full(service: Running) -> Iterator[None]:
    """Let no file grow, and then again."""
    pid, limit = service.process.pid, resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (4096, before[1]))
    yield
    resource.prlimit(pid, limit, before)


def answers_to(run: Path, fault: Callable[[Running], contextlib.AbstractContextManager[None]]) -> list[str]:
    """Return the cells of a fault's row: what was answered before, meanwhile and after, and what was lost."""
    with tempfile.TemporaryDirectory() as folder, serving(run, Path(folder)) as service:
        written: list[str] = []
        with httpx.Client(base_url=service.address, timeout=60) as client:

            def answered(users: list[str]) -> str:
                posted = [client.post(f"/v1/users/{user}/events", json=service.events()) for user in users]
                written.extend(u for u, one in zip(users, posted, strict=True) if one.status_code == 201)
                ready = client.get("/readyz")
                paths = any(folder in one.text for one in [*posted, ready])
                return f"{posted[-1].status_code}, ready {ready.status_code}" + (", a path" if paths else "")

            before = answered([f"a{user}" for user in range(5)])
            with fault(service):
                meanwhile = answered([f"b{user}" for user in range(5)])
            after = answered([f"c{user}" for user in range(5)])
        service.process.send_signal(signal.SIGTERM)
        service.process.wait()
        return [before, meanwhile, after, str(_lost(service, written))]


def _lost(service: Running, users: list[str]) -> int:
    with open_store(f"sqlite:///{service.file}") as store:
        return sum(store.head(user) is None for user in users)


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    good = True
    print("| state | stops in s | lost |\n|---|--:|--:|")
    for state in (idle, in_flight, explaining, writing_sentences, half_sent, reloading):
        spent_s, lost = seconds_to_stop(run, state)
        print(f"| {state.__name__.replace('_', ' ')} | {spent_s:.1f} | {lost} |", flush=True)
        good &= spent_s < _STOP_S and not lost
    print("\n| the file is | before | meanwhile | after | lost |\n|---|---|---|---|--:|")
    for fault in (deleted, replaced, full):
        cells = answers_to(run, fault)
        print(f"| {fault.__name__} | {' | '.join(cells)} |", flush=True)
        good &= cells[-1] == "0" and "a path" not in cells[1]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
