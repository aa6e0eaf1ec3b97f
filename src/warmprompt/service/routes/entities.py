"""What is told of entities, what is thought of their events, what is held about them."""

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
    from warmprompt.service.lives import Life, Told

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
async def add_events(
    service: ServiceDep,
    entity: EntityIdDep,
    key: IdempotencyDep,
    told: Annotated[EntityEventsIn, Body(openapi_examples=_EXAMPLES)],
) -> Response:
    """Write payments and labels to an entity's log; answers what was thought of each payment before it."""
    entities = _entities(service)
    from warmprompt.service.lives import Label

    payments = _payments(told.events)
    for place, (before, after) in enumerate(pairwise(payments), start=1):
        if after.time_s < before.time_s:
            raise BadInputError(
                field=f"time_s of event {place}",
                value=after.time_s,
                remedy=f"The one before it came at {before.time_s}; tell events in order of time.",
            )
    labels = [Label(id=one.id, fraud=one.fraud, time_s=one.time_s) for one in told.labels]
    news: list[Told] = [*labels, *payments]
    news.sort(key=lambda one: one.time_s)  # keeps equals in order: a second's labels stand before its events
    if not news:
        raise ProblemError(
            422, field="body", value="{}", remedy="Send events or labels; at least one of them."
        )
    taken = await entities.record(entity, news, key=key)
    first = taken.appended.first_seq
    body = {
        "first_seq": first,
        "last_seq": taken.appended.last_seq,
        "repeated": taken.appended.repeated,
        "estimates": [_estimate(news[seq - first].id, one) for seq, one in taken.estimates.items()],
    }
    return JSONResponse(body | _rests_on(entities, taken.life), status_code=201)


@router.get(
    "/{entity_id}/risk",
    response_model=RiskOut,
    responses=problems(404, 501, 503),
    dependencies=[needs("read")],
)
async def last_risk(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Return what was thought of an entity's last event when it came, and what its profile rests on."""
    entities = _entities(service)
    life = await entities.risk(entity)
    if life is None:
        raise not_found(entity, field="entity id")
    last = None if life.last is None else _estimate(life.state.payments[-1].id, life.last)
    return JSONResponse({"last": last} | _rests_on(entities, life))


@router.post(
    "/{entity_id}/risk",
    response_model=CandidatesOut,
    responses=problems(400, 409, 413, 501, 503),
    dependencies=[needs("read")],
)
async def risk_of(
    service: ServiceDep,
    entity: EntityIdDep,
    told: Annotated[CandidatesIn, Body(openapi_examples=_CANDIDATES)],
) -> Response:
    """Judge events without keeping them; of an entity that is not known, as the population."""
    entities = _entities(service)
    payments = _payments(told.events)
    life, estimates = await entities.score(entity, payments)
    judged = [_estimate(one.id, estimate) for one, estimate in zip(payments, estimates, strict=True)]
    return JSONResponse({"estimates": judged} | _rests_on(entities, life))


@router.get(
    "/{entity_id}",
    response_model=EntityExportOut,
    responses=problems(404, 501, 503),
    dependencies=[needs("read")],
)
async def export_entity(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Return everything held about an entity."""
    _entities(service)
    from warmprompt.service.lives import Life

    held = await service.users.ask(service.store.export, name_of_entity(entity))
    if held is None:
        raise not_found(entity, field="entity id")
    body = exported(held, read=lambda data: Life.from_bytes(data).state)
    del body["user"]
    return JSONResponse({"entity": entity} | body)


@router.delete(
    "/{entity_id}", response_model=DeletedOut, responses=problems(503), dependencies=[needs("write")]
)
async def delete_entity(service: ServiceDep, entity: EntityIdDep) -> Response:
    """Delete everything held about an entity, also where no profiler is served."""
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


def _payments(told: Iterable[PaymentIn]) -> list[Payment]:
    """Return payments in the order told.

    Raises:
        UnknownNameError: A context column that the profiler does not have.
    """
    from warmprompt.risk.profile import CONTEXT_NAMES, Payment
    from warmprompt.service.lives import context_of

    payments = []
    for place, one in enumerate(told):
        unknown = sorted(set(one.context) - set(CONTEXT_NAMES))
        if unknown:
            raise UnknownNameError(
                field=f"context of event {place}",
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


def _rests_on(entities: Entities, life: Life) -> dict[str, Any]:
    labels: Sequence[bool | None] = life.state.labels
    return {
        "seq": life.seq,
        "num_events": life.state.num_seen,
        "num_used": len(life.state.payments),
        "num_labels": sum(label is not None for label in labels),
        "left_out": life.left_out,
        "drift": life.drifts,
        "model": entities.model.profiler.model_hash,
        "version": entities.model.version,
    }
