"""Asking a service in this process."""

import asyncio
import socket
import threading
import time
from contextlib import asynccontextmanager, contextmanager
from urllib.parse import quote

import httpx

from warmprompt import Event
from warmprompt.service.app import create_app
from warmprompt.service.service import ModelSource, Service
from warmprompt.service.serving import make_server


def make_service(store, model, settings, *, keys_needed=False, source=None):
    source = source or ModelSource(name="tiny", open=lambda: model.personaliser)
    return Service(store, source, model, settings=settings, keys_needed=keys_needed)


@asynccontextmanager
async def asking(service, **headers):
    """Yield a client of the service, which runs as long."""
    transport = httpx.ASGITransport(app=create_app(service), raise_app_exceptions=True)
    service.start()
    try:
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers, timeout=60
        ) as client:
            yield client
    finally:
        await service.close()


def in_service(service, conversation, **headers):
    """Run a coroutine function of a client against a service and return what it returns."""

    async def talk():
        async with asking(service, **headers) as client:
            return await conversation(client)

    return asyncio.run(talk())


def log_of(*items, rating=None):
    """Return the body of a request with events."""
    return {"events": [{"item": item} | ({} if rating is None else {"rating": rating}) for item in items]}


def items_of(answer):
    assert answer.status_code == 200, answer.text
    return [row["item"] for row in answer.json()["items"]]


@contextmanager
def listening(service, *, page=None):
    """Yield the address of a real server in a thread of this process."""
    server = make_server(create_app(service, page=page))
    listener = socket.create_server(("127.0.0.1", 0))
    service_thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])))
    service_thread.start()
    try:
        for _ in range(3000):
            if server.started:
                break
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        service_thread.join(timeout=30)
        listener.close()


def path(user, rest=""):
    return f"/v1/users/{quote(user, safe='')}{rest}"


async def written(service):
    for _ in range(2000):
        await service.users.writer.drained()
        if service.users.is_idle:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("states are not written")


def entries(*items):
    from warmprompt.service.user_history import entry_of

    return [entry_of(Event(item=item)) for item in items]
