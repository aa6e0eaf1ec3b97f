"""Users: events, recommendations, export and deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse, Response

from warmprompt.adaptation.asking import DEFAULT_ITEMS
from warmprompt.service.asking import questions_json
from warmprompt.service.catalogue_schemas import MAX_ID_LETTERS, ItemIdText, QuestionsOut
from warmprompt.service.checks import checked_profile, events_of, items_of
from warmprompt.service.export import exported
from warmprompt.service.problems import ProblemError
from warmprompt.service.ranking import ranked_json
from warmprompt.service.reasons import sentence_json
from warmprompt.service.routes.common import (
    BudgetDep,
    IdempotencyDep,
    PlacesQuery,
    SelectionDep,
    ServiceDep,
    UserIdDep,
    needs,
    not_found,
    problems,
    sent_while_connected,
)
from warmprompt.service.schemas import DeletedOut, EventsIn, ExportOut, RankingOut, Recorded, SentenceOut
from warmprompt.service.settings import MAX_EXPLAINED, MAX_PLACES, TEXT_PRICE
from warmprompt.service.user_history import Profile
from warmprompt.types import Event

router = APIRouter(prefix="/v1/users", tags=["users"])

_EXAMPLES: Any = {
    "one event": {"value": {"events": [{"item": 50, "rating": 5}]}},
    "events and a sentence": {
        "value": {
            "events": [{"item": 50, "rating": 5, "time_s": 1700000000}, {"item": 100}],
            "about": "I like quiet films about people",
            "attributes": {"occupation": "artist"},
        }
    },
}


@router.post(
    "/{user_id}/events",
    status_code=201,
    response_model=Recorded,
    responses=problems(400, 409, 413, 503),
    dependencies=[needs("write")],
)
async def add_events(
    service: ServiceDep,
    user: UserIdDep,
    key: IdempotencyDep,
    request: Annotated[EventsIn, Body(openapi_examples=_EXAMPLES)],
    http: Request,
) -> Response:
    """Append a user's events and profile to the log; they are on the disk when this answers."""
    events = await events_of(service, request.events)
    profile = await checked_profile(service, user, request)
    service.auth.charge(http, TEXT_PRICE * service.users.num_texts(events, profile))
    inputs: list[Event | Profile] = [*events] if profile is None else [*events, profile]
    if not inputs:
        raise ProblemError(
            422, field="body", value="{}", remedy="Send events, about or attributes; at least one of them."
        )
    appended = await service.users.record(user, inputs, key=key)
    body = {
        "first_seq": appended.first_seq,
        "last_seq": appended.last_seq,
        "repeated": appended.repeated,
    }
    return JSONResponse(body, status_code=201)


@router.get(
    "/{user_id}/recommendations",
    response_model=RankingOut,
    responses=problems(501, 503),
    dependencies=[needs("read")],
)
async def recommend(  # noqa: PLR0913, PLR0917 - its parameters
    http_request: Request,
    service: ServiceDep,
    user: UserIdDep,
    budget: BudgetDep,
    selection: SelectionDep,
    n: PlacesQuery = 10,
    ordered: Annotated[  # noqa: FBT002
        bool, Query(description="The user's log is all that the user did, oldest first: the order counts.")
    ] = False,
    explain: Annotated[  # noqa: FBT002
        bool, Query(description=f"Explain the rank of each item; at most {MAX_EXPLAINED} items then.")
    ] = False,
) -> Response:
    """Rank the catalogue for a user; an unknown user gets the ranking without history."""
    if explain and n > MAX_EXPLAINED:
        remedy = f"Ask for at most {MAX_EXPLAINED} items with explain=true."
        raise ProblemError(422, field="query.n", value=n, remedy=remedy)
    if explain and ordered:
        remedy = "Leave out one of them: explanations speak of the ranking of a set of events."
        raise ProblemError(422, field="query.ordered", value="true", remedy=remedy)
    answer = await service.users.state(user, budget_s=budget)
    page = ranked_json(service.users, answer, n, selection=selection, ordered=ordered, explain=explain)
    if explain:
        return await sent_while_connected(http_request, page)
    return Response(await page, media_type="application/json")


@router.get(
    "/{user_id}/questions", response_model=QuestionsOut, responses=problems(503), dependencies=[needs("read")]
)
async def ask(
    service: ServiceDep,
    user: UserIdDep,
    n: Annotated[
        int, Query(ge=1, le=MAX_PLACES, description="Items at most.", examples=[12])
    ] = DEFAULT_ITEMS,
    shown: Annotated[
        Sequence[Annotated[str, Field(min_length=1, max_length=MAX_ID_LETTERS)]],
        Query(
            max_length=MAX_PLACES,
            description="Ids of items that the user was asked about before; may be repeated. They are not "
            "asked about again, and count as not known where the log has no event with them.",
            examples=[["50", "100"]],
        ),
    ] = (),
) -> Response:
    """Choose items to ask a user about, such as a screen of titles to mark; none that the log has."""
    before = await items_of(service, shown, field="shown")
    page = await questions_json(service.users, user, n, shown=before)
    return Response(page, media_type="application/json")


@router.get(
    "/{user_id}/sentence",
    response_model=SentenceOut,
    responses=problems(501, 503),
    dependencies=[needs("read")],
)
async def explain_in_words(
    http_request: Request,
    service: ServiceDep,
    user: UserIdDep,
    budget: BudgetDep,
    item: Annotated[ItemIdText, Query(description="Id of a ranked item.", examples=["50"])],
) -> Response:
    """Say in a sentence why an item has its rank; the language model writes it, in a second or so."""
    (found,) = await items_of(service, [item], field="item")
    answer = await service.users.state(user, budget_s=budget)
    return await sent_while_connected(http_request, sentence_json(service, answer, found))


@router.get(
    "/{user_id}", response_model=ExportOut, responses=problems(404, 503), dependencies=[needs("read")]
)
async def export_user(service: ServiceDep, user: UserIdDep) -> Response:
    """Return everything stored about a user."""
    export = await service.users.ask(service.store.export, user)
    if export is None:
        raise not_found(user)
    return JSONResponse(exported(export))


@router.delete(
    "/{user_id}", response_model=DeletedOut, responses=problems(503), dependencies=[needs("write")]
)
async def delete_user(service: ServiceDep, user: UserIdDep) -> Response:
    """Delete everything stored about a user: log, states, idempotency keys, memory."""
    deleted = await service.users.forget(user)
    if not deleted.scrubbed:
        service.scrub_later()
    body = {
        "entries": deleted.entries,
        "states": deleted.states,
        "idempotency_keys": deleted.idempotency_keys,
        "scrubbed": deleted.scrubbed,
    }
    return JSONResponse(body)
