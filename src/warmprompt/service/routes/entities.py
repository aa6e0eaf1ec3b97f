"""Entities: payments and labels, risk estimates, export and deletion."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Body
from starlette.responses import JSONResponse, Response

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.service.export import exported
from warmprompt.service.names import name_of_entity
from warmprompt.service.problems import ProblemError
from warmprompt.service.routes.common import (
    EntityIdDep,
    IdempotencyDep,
    ServiceDep,
    needs,
    not_found,
    problems,
)
from warmprompt.service.schemas import (
    CandidatesIn,
    CandidatesOut,
    DeletedOut,
    EntityEventsIn,
    EntityExportOut,
    EntityRecorded,
    PaymentIn,
    RiskOut,
)
from warmprompt.service.service import Service

if TYPE_CHECKING:
    from warmprompt.risk.profile import Payment, RiskEstimate
    from warmprompt.service.entities import Entities
    from warmprompt.service.entity_history import EntityHistory, PaymentOrLabel

router = APIRouter(prefix="/v1/entities", tags=["entities"])

_EVENT = {"id": 1, "time_s": 1700000000, "amount_minor": 4250, "counterparty": "shop 9"}
_EXAMPLES: Any = {
    "a payment": {"value": {"events": [_EVENT]}},
    "a label": {"value": {"labels": [{"id": 1, "fraud": False, "time_s": 1700604800}]}},
}
_CANDIDATES: Any = {"a payment": {"value": {"events": [_EVENT]}}}


@router.post(
    "/{entity_id}/events",
    status_code=201,
    response_model=EntityRecorded,
    responses=problems(400, 409, 413, 501, 503),
    dependencies=[needs("write")],
)
async def add_entity_events(
    service: ServiceDep,
    entity: EntityIdDep,
    key: IdempotencyDep,
    request: Annotated[EntityEventsIn, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Append payments and labels to an entity's log; returns each payment's risk from before it."""
    entities = _entities(service)
    from warmprompt.service.entity_history import Label

    payments = _payments(request.events)
    for index, (before, after) in enumerate(pairwise(payments), start=1):
        if after.time_s < before.time_s:
            raise BadInputError(
                field=f"time_s of event {index}",
                value=after.time_s,
                remedy=f"The one before it came at {before.time_s}; send events in order of time.",
            )
    labels = [Label(id=one.id, fraud=one.fraud, time_s=one.time_s) for one in request.labels]
    records: list[PaymentOrLabel] = [*labels, *payments]
    records.sort(key=lambda one: one.time_s)  # stable: at the same second, labels come before events
    if not records:
        raise ProblemError(
            422, field="body", value="{}", remedy="Send events or labels; at least one of them."
        )
    outcome = await entities.record(entity, records, key=key)
    first = outcome.appended.first_seq
    body = {
        "first_seq": first,
        "last_seq": outcome.appended.last_seq,
        "repeated": outcome.appended.repeated,
        "estimates": [_estimate(records[seq - first].id, one) for seq, one in outcome.estimates.items()],
    }
    return JSONResponse(body | _basis(entities, outcome.history), status_code=201)


@router.get(
    "/{entity_id}/risk",
    response_model=RiskOut,
    responses=problems(404, 501, 503),
    dependencies=[needs("read")],
)
async def get_entity_risk(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Return the risk of an entity's last event when it came, and the basis of its profile."""
    entities = _entities(service)
    history = await entities.risk(entity)
    if history is None:
        raise not_found(entity, field="entity id")
    last = None if history.last is None else _estimate(history.state.payments[-1].id, history.last)
    return JSONResponse({"last": last} | _basis(entities, history))


@router.post(
    "/{entity_id}/risk",
    response_model=CandidatesOut,
    responses=problems(400, 409, 413, 501, 503),
    dependencies=[needs("read")],
)
async def estimate_entity_risk(
    service: ServiceDep,
    entity: EntityIdDep,
    request: Annotated[CandidatesIn, Body(openapi_examples=_CANDIDATES)],
) -> Response:
    """Estimate the risk of events without storing them; an unknown entity has the population's profile."""
    entities = _entities(service)
    payments = _payments(request.events)
    history, estimates = await entities.score(entity, payments)
    estimated = [_estimate(one.id, estimate) for one, estimate in zip(payments, estimates, strict=True)]
    return JSONResponse({"estimates": estimated} | _basis(entities, history))


@router.get(
    "/{entity_id}",
    response_model=EntityExportOut,
    responses=problems(404, 501, 503),
    dependencies=[needs("read")],
)
async def export_entity(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Return everything stored about an entity."""
    _entities(service)
    from warmprompt.service.entity_history import EntityHistory

    export = await service.users.ask(service.store.export, name_of_entity(entity))
    if export is None:
        raise not_found(entity, field="entity id")
    body = exported(export, read=lambda data: EntityHistory.from_bytes(data).state)
    del body["user"]
    return JSONResponse({"entity": entity} | body)


@router.delete(
    "/{entity_id}", response_model=DeletedOut, responses=problems(503), dependencies=[needs("write")]
)
async def delete_entity(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Delete everything stored about an entity, also if no profiler is served."""
    if service.entities is None:
        deleted = await service.users.ask(service.store.delete, name_of_entity(entity))
    else:
        deleted = await service.entities.forget(entity)
    if not deleted.scrubbed:
        service.scrub_later()
    body = {
        "entries": deleted.entries,
        "states": deleted.states,
        "idempotency_keys": deleted.idempotency_keys,
        "scrubbed": deleted.scrubbed,
    }
    return JSONResponse(body)


def _entities(service: Service) -> Entities:
    if service.entities is None:
        raise ProblemError(
            501,
            field="risk profiler",
            value=None,
            remedy="Serve one with 'warmprompt serve RUN --risk FOLDER'.",
        )
    return service.entities


def _payments(sent: Iterable[PaymentIn]) -> list[Payment]:
    """Return payments in the order of the request.

    Raises:
        UnknownNameError: A context column that the profiler does not have.
    """
    from warmprompt.risk.profile import CONTEXT_NAMES, Payment
    from warmprompt.service.entity_history import context_of

    payments = []
    for index, one in enumerate(sent):
        unknown = sorted(set(one.context) - set(CONTEXT_NAMES))
        if unknown:
            raise UnknownNameError(
                field=f"context of event {index}",
                value=unknown[0],
                remedy=f"The columns are {', '.join(CONTEXT_NAMES)}.",
            )
        payments.append(
            Payment(
                id=one.id,
                time_s=one.time_s,
                amount_minor=one.amount_minor,
                counterparty=one.counterparty,
                context=context_of(one.context),
            )
        )
    return payments


def _estimate(event: str | int, estimate: RiskEstimate) -> dict[str, Any]:
    return {
        "event": event,
        "p_risk": estimate.p_risk,
        "p_low": estimate.p_low,
        "p_high": estimate.p_high,
        "decision": estimate.decision,
        "abstains": estimate.decision == "unsure",
        "score": estimate.score,
        "typicality": estimate.typicality,
        "num_known": estimate.num_known,
    }


def _basis(entities: Entities, history: EntityHistory) -> dict[str, Any]:
    labels: Sequence[bool | None] = history.state.labels
    return {
        "seq": history.seq,
        "num_events": history.state.num_seen,
        "num_used": len(history.state.payments),
        "num_labels": sum(label is not None for label in labels),
        "left_out": history.left_out,
        "drift": history.drifts,
        "model": entities.model.profiler.model_hash,
        "version": entities.model.version,
    }
