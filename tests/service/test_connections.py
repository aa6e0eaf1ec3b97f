"""The server's connections: half-sent requests, and the end of the process whatever is under way."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from tests.service.talking import listening

from warmprompt.store.opening import open_store

HALF_SENT = {
    "nothing": b"",
    "half a header": b"GET /healthz HTTP/1.1\r\nHost: local",
    "half a body": b"POST /v1/rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b'Content-Length: 100\r\n\r\n{"n": ',
    "half a second request": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea",
}
# Explains for longer than anybody waits, in a thread that nothing can interrupt.
SLOW_SERVICE = """
import sys, time
from pathlib import Path
from warmprompt.service.serving import ProcessSettings, serve
from warmprompt.service.settings import ServiceSettings

class Slow:
    def explain(self, state, items):
        time.sleep(600)

serve(Path(sys.argv[1]), ProcessSettings(port=0, store=sys.argv[2]), settings=ServiceSettings(),
      make_explainer=lambda model: Slow(), ready=lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize("sent", HALF_SENT.values(), ids=HALF_SENT)
def test_half_sent_request_is_closed_in_time(service, monkeypatch, sent):
    monkeypatch.setattr("warmprompt.service.connections._WHOLE_S", 0.5)
    with listening(service) as address:
        port = int(address.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(sent)
            received = b""
            while more := connection.recv(1000):
                received += more
    assert (b"200 OK" in received) == (sent == HALF_SENT["half a second request"])


def test_slow_answer_is_not_a_half_sent_request(service, store, monkeypatch):
    monkeypatch.setattr("warmprompt.service.connections._WHOLE_S", 0.2)
    ping = store.ping

    def slow_ping(_store):
        time.sleep(1)
        ping()

    monkeypatch.setattr(type(store), "ping", slow_ping)
    with listening(service) as address, httpx.Client(base_url=address, timeout=60) as client:
        assert client.get("/readyz").status_code == 200
        time.sleep(0.5)  # idle, which is another matter
        assert client.get("/healthz").status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_process_ends_within_ten_seconds_of_sigterm(trained_folder, tmp_path):
    """Eight explanations run or wait, their clients have left, and requests are half sent."""
    url = f"sqlite:///{tmp_path / 'users.db'}"
    command = [sys.executable, "-c", SLOW_SERVICE, str(trained_folder), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        try:
            address = process.stdout.readline().strip()
            asyncio.run(abandon_explanations(address))
            port = int(address.rpartition(":")[2])
            connections = [socket.create_connection(("127.0.0.1", port)) for _ in HALF_SENT]
            for connection, sent in zip(connections, HALF_SENT.values(), strict=True):
                connection.sendall(sent)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(timeout=0.5)
            begun_s = time.monotonic()
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)
            spent_s = time.monotonic() - begun_s
            for connection in connections:
                connection.close()
        finally:
            process.kill()
    assert spent_s < 10
    with open_store(url) as store:
        assert len(store.entries("ada")) == 1


async def abandon_explanations(address):
    async with httpx.AsyncClient(base_url=address, timeout=60) as client:
        item = (await client.get("/v1/items", params={"n": 1})).json()["items"][0]["item"]
        await client.post("/v1/users/ada/events", json={"events": [{"item": item}]})
        tasks = [
            asyncio.create_task(client.get("/v1/users/ada/recommendations", params={"explain": True, "n": n}))
            for n in range(1, 9)
        ]
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
