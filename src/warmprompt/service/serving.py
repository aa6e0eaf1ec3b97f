"""Start a service from a run's folder; invalid settings are reported before the model is loaded."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import ipaddress
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from sqlalchemy import make_url
from starlette.types import ASGIApp

from warmprompt.adaptation.opening import open_run
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.backbone.threads import use_threads
from warmprompt.errors import BadInputError, DatabaseAwayError, StorageError
from warmprompt.runs.format import MANIFEST
from warmprompt.service.app import create_app
from warmprompt.service.connections import PromptConnection
from warmprompt.service.keys import any_key
from warmprompt.service.logs import log_line, note_error, set_up_logging
from warmprompt.service.model.served_model import ExplainerFactory
from warmprompt.service.service import ModelSource, Service, load_model
from warmprompt.service.settings import ServiceSettings
from warmprompt.store.contract import Store
from warmprompt.store.opening import open_store

if TYPE_CHECKING:
    from warmprompt.service.entities import ServedProfiler

PAGE = Path(__file__).parent / "page"
_BACKLOG = 2048
# Requests under way may end within the first; what still runs after the second ends with the process.
_GOODBYE_S = 4
_END_S = 8
# Longer than proxies and clients keep idle connections; else one may be closed just as a request arrives.
_IDLE_S = 75


@dataclass(frozen=True, kw_only=True)
class ProcessSettings:
    """Settings of the process: addresses of the service and of its database, threads and log.

    Attributes:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        store: Address of the database.
        watch: Reload the run when its folder changes.
        threads: Processor threads of the model; None uses the run's own number.
        log_level: Of the service's log.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    store: str = "sqlite:///warmprompt.db"
    watch: bool = False
    threads: int | None = 1
    log_level: str = "INFO"


def serve(
    folder: Path,
    process: ProcessSettings,
    *,
    settings: ServiceSettings,
    risk: Path | None = None,
    make_explainer: ExplainerFactory | None = None,
    ready: Callable[[str], object] = lambda _address: None,
) -> None:
    """Serve a run until SIGTERM or SIGINT; SIGHUP reloads the run.

    Args:
        folder: Of a trained run.
        process: Addresses of the service and of the database, threads and log.
        settings: How to behave; whether the store is shared follows from its kind.
        risk: Folder of a saved risk profiler, or None to serve no entities.
        make_explainer: Makes the explainer of rankings, or None.
        ready: Called with the address once the service accepts requests.

    Raises:
        BadInputError: The port is taken, the database is away or another service serves its file, or there
            is no key while the address can be reached from elsewhere.
        WarmpromptError: The run cannot be used.
    """
    set_up_logging(level=process.log_level)
    if risk is not None:
        import_module("warmprompt.risk")  # an extra: reports a missing package before the work begins
    with ExitStack() as stack:
        listener = stack.enter_context(_bound(process.host, process.port))
        stack.enter_context(_sole(process.store))
        store = stack.enter_context(_opened(process.store, settings))
        away = not _is_loopback(process.host)
        if away and not _has_key(store):
            raise BadInputError(
                field="--host",
                value=process.host,
                remedy="It can be reached from elsewhere: make a key first with 'warmprompt keys create'.",
            )
        source = ModelSource(
            name=folder.name,
            open=lambda: _opened_run(folder, process.threads),
            stamp=(lambda: _stamp(folder)) if process.watch else None,
            make_explainer=make_explainer,
        )
        settings = replace(settings, shared=not process.store.startswith("sqlite"))
        profiler = None if risk is None else _load_risk(risk)
        model = load_model(source, store, settings)
        service = Service(store, source, model, settings=settings, keys_needed=away, risk=profiler)
        with _address_errors(process.host, process.port):
            listener.listen(_BACKLOG)  # from here on requests come in; before, connections are refused
        log_line("serving", run=folder.name, model=model.version[:12], texts=model.texts.batch_size)
        address = _address(listener)
        # `uvicorn.Server.serve` runs in the loop that it finds, so its own choice of a fast one is made here.
        with asyncio.Runner(loop_factory=uvicorn.Config("").get_loop_factory()) as runner:
            runner.run(_run(service, listener, ready=lambda: ready(address)))


def _opened_run(folder: Path, threads: int | None) -> Personaliser:
    run = open_run(folder)  # which gives the model as many threads as it was trained with
    use_threads(threads)
    return run


def _load_risk(folder: Path) -> ServedProfiler:
    # The profiler's packages are an extra.
    from warmprompt.service.entities import load_risk

    return load_risk(folder)


async def _run(service: Service, listener: socket.socket, *, ready: Callable[[], object]) -> None:
    page = PAGE if (PAGE / "index.html").is_file() else None
    server = make_server(create_app(service, page=page))
    reloading: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.get_running_loop().create_task(_reload(service))
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload)
    serving = asyncio.get_running_loop().create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        ready()
    await serving


async def _reload(service: Service) -> None:
    try:
        await service.reload()
    except Exception as error:  # noqa: BLE001 - the former model serves on
        note_error("the run could not be reloaded", error)


def make_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server that ends within ten seconds of SIGTERM or SIGINT, whatever is under way.

    Everything acknowledged is on the disk by then, so no thread is worth waiting for.
    """
    config = uvicorn.Config(
        app,
        http=PromptConnection,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    server = uvicorn.Server(config)
    stop = server.handle_exit

    def handle_exit(sig: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_END_S)  # the system ends the process then, also if a thread holds the interpreter
        stop(sig, frame)

    server.handle_exit = handle_exit  # type: ignore[method-assign]
    return server


@contextmanager
def _bound(host: str, port: int) -> Iterator[socket.socket]:
    """Yield a bound socket, so that a port in use is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _address_errors(host, port):
            listener.bind((host, port))
        yield listener


@contextmanager
def _address_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise BadInputError(
            field="--port" if taken else "--host",
            value=port if taken else host,
            remedy="It is taken; choose another one."
            if taken
            else f"It cannot be listened on: {os.strerror(error.errno or 0)}."
            if error.errno and error.errno > 0
            else "It is no address of this machine.",
        ) from None


@contextmanager
def _sole(url: str) -> Iterator[None]:
    """Lock a SQLite file against other services, because this one relies on its own memory."""
    if not url.startswith("sqlite"):
        yield
        return
    name = Path(f"{make_url(url).database}.serving")
    try:
        name.parent.mkdir(parents=True, exist_ok=True)
        lock = name.open("w")
    except OSError:
        yield  # the store has the better error message
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BadInputError(
                field="--store",
                value=url,
                remedy="Another service serves this file; stop it, or use PostgreSQL to share users.",
            ) from None
        yield


def _opened(url: str, settings: ServiceSettings) -> Store:
    """Open the store; a path that cannot be written is the caller's error."""
    try:
        return open_store(url, num_connections=settings.store_threads)
    except StorageError as error:
        raise BadInputError(field="--store", value=error.value, remedy=error.remedy) from error


def _has_key(store: Store) -> bool:
    try:
        return any_key(store)
    except DatabaseAwayError as error:
        raise BadInputError(field=error.field, value=error.value, remedy=error.remedy) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _stamp(folder: Path) -> object:
    """Return a stamp that changes with the run in the folder; None while one is being written."""
    try:
        found = (folder / MANIFEST).stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_ino)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
