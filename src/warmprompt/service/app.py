"""The application: routes, how errors are told, and the layer around both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from warmprompt.errors import FaultError, WarmpromptError
from warmprompt.service.edge import Edge
from warmprompt.service.logs import note_error
from warmprompt.service.problems import ProblemError, problem_of, respond
from warmprompt.service.quick import Quick
from warmprompt.service.routes import entities, items, operations, rank, users
from warmprompt.service.service import Service

_ABOUT = """Send what users do, ask for rankings adapted to it within the same second.

Errors are `application/problem+json` and name the field, the value it had and the remedy. Where the
service needs keys, send one as `Authorization: Bearer wp_...`: `read` asks, `write` tells and deletes,
`admin` does all.
"""


def create_app(service: Service, *, page: Path | None = None) -> ASGIApp:
    """Return the application; it starts the service with the event loop and closes it at its end.

    Args:
        service: Not started yet.
        page: Folder of a web page to serve at /, with an index.html; files beside it stand under /static/.
    """

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await service.close()

    app = FastAPI(
        title="warmprompt",
        version=version("warmprompt"),
        description=_ABOUT,
        lifespan=lifespan,
        docs_url=None,  # both pages load scripts from other hosts
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    for router in (users.router, rank.router, items.router, entities.router, operations.router):
        app.include_router(router)
    app.add_exception_handler(ProblemError, _tell_problem)
    app.add_exception_handler(WarmpromptError, _tell_error)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    if page is not None:
        app.mount("/static", StaticFiles(directory=page), name="static")
        app.add_route("/", lambda _request: FileResponse(page / "index.html"))
    return Edge(Quick(app, service), metrics=service.metrics, body_bytes=service.settings.limits.body_bytes)


async def _tell_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return respond(error)


async def _tell_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WarmpromptError)
    problem = problem_of(error)
    if problem.status == 503:
        request.app.state.service.metrics.refused.labels(type(error).__name__).inc()
    elif isinstance(error, FaultError):
        note_error("a request failed", error)
    return respond(problem)


async def _tell_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return respond(ProblemError(400, field="body", value=None, remedy="Send JSON; this is none."))
    if isinstance(first.get("input"), bytes):
        remedy = "Send JSON, and say so: Content-Type: application/json."
        return respond(ProblemError(422, field="body", value=None, remedy=remedy))
    place = ".".join(str(part) for part in first["loc"] if part != "function-after") or "request"
    remedy = first["msg"].removeprefix("Value error, ").replace("Input", "It").replace("String", "It")
    return respond(ProblemError(422, field=place, value=first.get("input"), remedy=f"{remedy}."))


async def _tell_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedy = {
        400: "Send a JSON object.",
        404: "Nothing is served at this path; see /openapi.json.",
        405: "Nothing here answers this method; see /openapi.json.",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    return respond(
        ProblemError(error.status_code, field="request", value=None, remedy=remedy, headers=headers)
    )
