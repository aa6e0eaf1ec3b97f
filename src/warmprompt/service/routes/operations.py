"""Health, readiness, what is served, metrics and administration."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import JSONResponse, Response

from warmprompt.errors import FaultError, IntegrityError, UserError
from warmprompt.service.logs import note_error
from warmprompt.service.problems import ProblemError
from warmprompt.service.routes.common import ServiceDep, needs, problems
from warmprompt.service.schemas import AliveOut, ModelOut, ReadyOut, ReloadedOut, ScrubbedOut

router = APIRouter(tags=["operations"])

_PATIENCE_S = 2.0


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", response_model=AliveOut)
async def is_alive() -> Response:
    """Return that the process answers; restart it if this fails."""
    return JSONResponse({"alive": True})


@router.head("/readyz", include_in_schema=False)
@router.get(
    "/readyz",
    response_model=ReadyOut,
    responses={503: {"model": ReadyOut, "description": "The database is unavailable"}},
)
async def is_ready(service: ServiceDep) -> Response:
    """Return whether requests can be answered now, and how many states are up to date."""
    database = True
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await service.users.ask(service.store.ping)
    except (FaultError, TimeoutError):
        database = False
    service.metrics.database.set(database)
    status = service.backfill.status
    body = {
        "ready": database,
        "database": database,
        "model": service.users.model.version,
        "backfill": status and {"users": status.users, "current": status.current, "running": status.running},
    }
    return JSONResponse(body, status_code=200 if database else 503)


@router.get("/v1/model", response_model=ModelOut, responses=problems(503), dependencies=[needs("read")])
async def show_model(service: ServiceDep) -> Response:
    """Return what scores are made of: experts, weights, sizes and costs, as `warmprompt describe`."""
    model = service.users.model
    description = await service.users.ask(model.personaliser.describe)
    return JSONResponse({"model": model.version, **description.to_dict()})


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems()},
    response_class=Response,
    dependencies=[needs("read")],
)
async def get_metrics(service: ServiceDep) -> Response:
    """Return all metrics in Prometheus' text format."""
    service.refresh_gauges()
    return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


@router.post(
    "/v1/admin/reload",
    response_model=ReloadedOut,
    responses=problems(409, 503),
    dependencies=[needs("admin")],
)
async def reload_model(service: ServiceDep) -> Response:
    """Reload the run's folder, without dropping a request."""
    try:
        model = await service.reload()
    except (UserError, IntegrityError) as error:  # they name the run's folder
        note_error("the run could not be reloaded", error)
        remedy = "It cannot be used, and the former one stays in service; the log has the reason."
        raise ProblemError(409, field="run", value=None, remedy=remedy) from None
    return JSONResponse({"model": model.version})


@router.post(
    "/v1/admin/scrub", response_model=ScrubbedOut, responses=problems(503), dependencies=[needs("admin")]
)
async def scrub_database(service: ServiceDep) -> Response:
    """Remove deleted bytes from a SQLite file by rewriting it; writers wait meanwhile."""
    return JSONResponse({"scrubbed": await service.scrub()})
