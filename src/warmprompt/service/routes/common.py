"""Dependencies of all routes: service, ids, key, time budget, and the documentation of errors."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Annotated, Any, cast
from urllib.parse import unquote

from fastapi import Depends, Header, Path, Query, Request, Security
from fastapi.security import HTTPBearer
from pydantic import Field
from starlette.responses import Response

from warmprompt.adaptation.selection import Selection
from warmprompt.data.attributes import parsed_filter
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.service.catalogue_schemas import MAX_FILTERS, MAX_ID_LETTERS
from warmprompt.service.checks import items_of, selection_of
from warmprompt.service.names import ENTITY_PREFIX, MAX_ENTITY_BYTES, is_entity
from warmprompt.service.problems import MEDIA_TYPE, ProblemError
from warmprompt.service.schemas import ProblemOut
from warmprompt.service.service import Service
from warmprompt.service.settings import MAX_PLACES
from warmprompt.store.contract import MAX_ID_BYTES
from warmprompt.types import ItemId

MAX_BUDGET_MS = 10_000

_WHY = {
    400: "The body is not JSON",
    401: "No API key in force",
    403: "The key lacks the scope, or without keys a page of another origin sent it",
    404: "Nothing is stored under this id",
    409: "In conflict with existing data",
    413: "The body is too long",
    421: "Another host's name, in service without keys",
    422: "An invalid value",
    429: "Too many requests; see Retry-After",
    501: "Not served here",
    503: "Too much work waits, or the database is unavailable; see Retry-After",
}
FilterQuery = Annotated[
    Sequence[Annotated[str, Field(max_length=300)]],
    Query(
        max_length=MAX_FILTERS,
        description="Rank only items with this attribute: genres=Comedy, or year=1990..1999. Repeated with "
        "another attribute both must hold, with the same one any of its values.",
        examples=[["genres=Comedy", "year=1990.."]],
    ),
]
_IdQuery = Annotated[str, Field(min_length=1, max_length=MAX_ID_LETTERS)]
_bearer = HTTPBearer(auto_error=False, description="A key from `warmprompt keys create`.")


def service_of(request: Request) -> Service:
    """Return the service behind the application."""
    return cast("Service", request.app.state.service)


async def the_service(request: Request) -> Service:
    """Return the service as a dependency; a coroutine, because plain functions would run in a thread."""
    return service_of(request)


def needs(scope: str) -> Any:
    """Return the dependency that requires a key with a scope, and parameters that the route has."""

    async def admit(request: Request, _bearer: Annotated[object, Security(_bearer)]) -> None:
        await service_of(request).auth.admit(request, scope)
        _check_parameters(request)

    return Depends(admit)


def _check_parameters(request: Request) -> None:
    """Refuse parameters that a route does not have, so that a misspelled name is not ignored.

    Raises:
        ProblemError: 422; names the parameter and the existing ones.
    """
    if not request.query_params:
        return
    operation = request.app.openapi()["paths"][request.scope["route"].path_format][request.method.lower()]
    known = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
    for name in request.query_params:
        if name not in known:
            remedy = f"Use {', '.join(known)}." if known else "Remove it; this route has no parameters."
            raise ProblemError(422, field=f"query.{name[:40]}", value=None, remedy=remedy)


async def user_id(
    user_id: Annotated[
        str,
        Path(
            description=f"Any text of at most {MAX_ID_BYTES} bytes in UTF-8 without NUL, percent-encoded.",
            examples=["ada", "tenant/42", "Zoë"],
            json_schema_extra={"minLength": 1},
        ),
    ],
) -> str:
    """Return the user's id; `RequestMiddleware` has quoted it in the path."""
    user = _checked_id(user_id, field="user id", longest=MAX_ID_BYTES)
    if is_entity(user):
        raise BadInputError(field="user id", value=user[:40], remedy=f"Begin it without {ENTITY_PREFIX!r}.")
    return user


async def entity_id(
    entity_id: Annotated[
        str,
        Path(
            description=f"Text of at most {MAX_ENTITY_BYTES} bytes in UTF-8 without NUL, percent-encoded.",
            examples=["card 17", "bank/42"],
            json_schema_extra={"minLength": 1},
        ),
    ],
) -> str:
    """Return the entity's id; `RequestMiddleware` has quoted it in the path."""
    return _checked_id(entity_id, field="entity id", longest=MAX_ENTITY_BYTES)


def _checked_id(quoted: str, *, field: str, longest: int) -> str:
    found = unquote(quoted)
    if not found or "\x00" in found or len(found.encode()) > longest:
        raise BadInputError(
            field=field, value=found[:40], remedy=f"Give 1 to {longest} bytes of UTF-8 without NUL."
        )
    return found


async def budget_s(
    request: Request,
    budget_ms: Annotated[
        int | None,
        Query(
            ge=0,
            le=MAX_BUDGET_MS,
            description="How long to wait for new texts to be read, milliseconds; after it `stale` is true.",
            examples=[2000],
        ),
    ] = None,
) -> float:
    """Return the request's time budget in seconds."""
    return service_of(request).settings.budget_s if budget_ms is None else budget_ms / 1000


async def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            max_length=200,
            pattern=r"^[!-~]+$",
            description="Identifies this request; repeated, it counts once.",
            examples=["7f3a-0001"],
        ),
    ] = None,
) -> str | None:
    """Return the request's idempotency key."""
    return idempotency_key


async def item_id(
    request: Request,
    item_id: Annotated[
        str,
        Path(
            description="Of an item of the catalogue, percent-encoded; a number as its digits.",
            examples=["50", "B00005JLYN"],
            json_schema_extra={"minLength": 1},
        ),
    ],
) -> ItemId:
    """Return the item that the path names; `RequestMiddleware` has quoted its id."""
    text = _checked_id(item_id, field="item id", longest=MAX_ID_BYTES)
    try:
        return (await items_of(service_of(request), [text], field="item id"))[0]
    except UnknownNameError as error:
        raise ProblemError(404, field="item id", value=text, remedy=error.remedy) from None


async def selection(
    request: Request,
    candidates: Annotated[
        Sequence[_IdQuery] | None,
        Query(
            min_length=1,
            max_length=MAX_PLACES,
            description="Rank only the items with these ids; may be repeated.",
            examples=[["50", "100"]],
        ),
    ] = None,
    exclude: Annotated[
        Sequence[_IdQuery],
        Query(
            max_length=MAX_PLACES,
            description="Ids of items to leave out; may be repeated.",
            examples=[["50"]],
        ),
    ] = (),
    filter: FilterQuery = (),  # noqa: A002 - the usual word
) -> Selection:
    """Return which items a request wants ranked."""
    wanted = parsed_filter(filter, field="filter")
    return await selection_of(service_of(request), candidates=candidates, exclude=exclude, filter=wanted)


PlacesQuery = Annotated[int, Query(ge=1, le=MAX_PLACES, description="Places in the ranking.", examples=[10])]
SelectionDep = Annotated[Selection, Depends(selection)]
ItemIdDep = Annotated[str | int, Depends(item_id)]
UserIdDep = Annotated[str, Depends(user_id)]
EntityIdDep = Annotated[str, Depends(entity_id)]
BudgetDep = Annotated[float, Depends(budget_s)]
IdempotencyDep = Annotated[str | None, Depends(idempotency_key)]
ServiceDep = Annotated[Service, Depends(the_service)]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of the errors that a route may answer with."""
    always = (401, 403, 421, 422, 429)
    return {
        status: {
            "description": _WHY[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemOut.__name__}"}}},
        }
        for status in sorted({*always, *statuses})
    }


async def sent_while_connected(request: Request, page: Coroutine[Any, Any, bytes]) -> Response:
    """Return JSON as a response, or cancel the work as soon as the client leaves.

    What waits is removed from its queue; what runs in a thread already ends there, and nobody reads it.
    """
    work, leaving = asyncio.ensure_future(page), asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return Response(work.result(), media_type="application/json")
        return Response(status_code=499)  # for metrics and log; nobody receives it
    finally:
        leaving.cancel()
        work.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def not_found(owner: str, *, field: str = "user id") -> ProblemError:
    """Return the problem of an id under which nothing is stored."""
    return ProblemError(404, field=field, value=owner, remedy="It is unknown; send events first.")
