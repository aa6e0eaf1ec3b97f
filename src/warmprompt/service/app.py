"""The application: routes, error responses, and the middleware around both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from warmprompt.errors import WarmpromptError
from warmprompt.service.middleware import RequestMiddleware
from warmprompt.service.plain_requests import PlainRequests, error_response
from warmprompt.service.problems import ProblemError, problem_response
from warmprompt.service.ranking_cache import RankingCache
from warmprompt.service.routes import entities, items, operations, rank, users
from warmprompt.service.schemas import ProblemOut
from warmprompt.service.service import Service

_ABOUT = """Send what users do, and get rankings adapted to it within the same second.

Errors are `application/problem+json` and name the field, the value it had and the remedy. Where the
service needs keys, send one as `Authorization: Bearer wp_...`. The scope `read` allows queries, `write`
allows events and deletion, and `admin` allows everything.
"""


def create_app(service: Service, *, page: Path | None = None) -> ASGIApp:
    """Return the application; it starts and closes the service together with the event loop.

    Args:
        service: Not started yet.
        page: Folder of a web page to serve at /, with an index.html; its other files are under /static/.
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
        generate_unique_id_function=lambda route: route.name,  # a generated client's method names
    )
    make_document = app.openapi

    def document() -> dict[str, Any]:
        made = make_document()
        made["components"]["schemas"][ProblemOut.__name__] = ProblemOut.model_json_schema()
        return made

    app.openapi = document  # type: ignore[method-assign]
    app.state.service = service
    for router in (users.router, rank.router, items.router, entities.router, operations.router):
        app.include_router(router)
    app.add_exception_handler(ProblemError, _respond_problem)
    app.add_exception_handler(WarmpromptError, _respond_error)
    app.add_exception_handler(RequestValidationError, _respond_invalid)
    app.add_exception_handler(HTTPException, _respond_http)
    if page is not None:
        app.mount("/static", StaticFiles(directory=page), name="static")
        app.add_route("/", lambda _request: FileResponse(page / "index.html"))
    return RequestMiddleware(
        RankingCache(PlainRequests(app, service), service),
        metrics=service.metrics,
        body_bytes=service.settings.limits.body_bytes,
    )


async def _respond_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return problem_response(error)


async def _respond_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, WarmpromptError)
    return error_response(request.app.state.service, error)


async def _respond_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return problem_response(ProblemError(400, field="body", value=None, remedy="Send valid JSON."))
    if isinstance(first.get("input"), bytes):
        remedy = "Send JSON with the header Content-Type: application/json."
        return problem_response(ProblemError(422, field="body", value=None, remedy=remedy))
    field = ".".join(str(part) for part in first["loc"] if part != "function-after") or "request"
    remedy = first["msg"].removeprefix("Value error, ").replace("Input", "It").replace("String", "It")
    return problem_response(ProblemError(422, field=field, value=first.get("input"), remedy=f"{remedy}."))


async def _respond_http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    remedy = {
        400: "Send a JSON object.",
        404: "Nothing is served at this path; see /openapi.json.",
        405: "Nothing here answers this method; see /openapi.json.",
    }.get(error.status_code, str(error.detail))
    headers = dict(error.headers or {})
    return problem_response(
        ProblemError(error.status_code, field="request", value=None, remedy=remedy, headers=headers)
    )
