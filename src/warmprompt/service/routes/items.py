"""Items: search, similar items, new items by their text, and hiding."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from starlette.responses import JSONResponse, Response

from warmprompt.data.attributes import parsed_filter
from warmprompt.service.catalogue_schemas import AddedOut, HiddenOut, ItemsIn, ItemsOut, SimilarOut
from warmprompt.service.checks import new_id
from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.model.served_model import ServedModel
from warmprompt.service.ranking import ranking_rows
from warmprompt.service.routes.common import (
    FilterQuery,
    ItemIdDep,
    PlacesQuery,
    SelectionDep,
    ServiceDep,
    needs,
    problems,
)
from warmprompt.service.search import found_items
from warmprompt.service.settings import MAX_PLACES
from warmprompt.types import ItemId

router = APIRouter(prefix="/v1/items", tags=["items"])

_EXAMPLES: Any = {
    "two films": {
        "value": {
            "items": [
                {"id": "new-1", "title": "The Lighthouse Keeper (2026)", "text": "Drama"},
                {"id": "new-2", "title": "Robots at Sea (2026)", "text": "Animation, Comedy"},
            ]
        }
    },
    "with attributes for filters": {
        "value": {"items": [{"id": 9001, "title": "Robots at Sea", "attributes": {"genres": ["Comedy"]}}]}
    },
}


@router.get("", response_model=ItemsOut, responses=problems(503), dependencies=[needs("read")])
async def find_items(
    service: ServiceDep,
    q: Annotated[
        str, Query(max_length=200, description="Words of a title; without them the most popular items.")
    ] = "",
    n: Annotated[int, Query(ge=1, le=MAX_PLACES, description="Items at most.", examples=[20])] = 20,
    filter: FilterQuery = (),  # noqa: A002 - the usual word
    hidden: Annotated[bool, Query(description="Only hidden items.")] = False,  # noqa: FBT002
) -> Response:
    """Find items by title, also if misspelled, or list the most popular ones that are not hidden."""
    model = service.users.model
    wanted = parsed_filter(filter, field="filter")
    return JSONResponse(await service.users.ask(found_items, model, q, n, filter=wanted, hidden=hidden))


@router.get(
    "/{item_id}/similar",
    response_model=SimilarOut,
    responses=problems(404, 503),
    dependencies=[needs("read")],
)
async def similar_items(
    service: ServiceDep,
    item: ItemIdDep,
    selection: SelectionDep,
    n: PlacesQuery = 10,
) -> Response:
    """Return the items that the same people like, by the cosine of item vectors."""
    model = service.users.model
    ranking = await service.users.adaptations.compute(
        model, model.personaliser.similar, item, n, **vars(selection)
    )
    title = model.personaliser.title(item)
    body = {"item": item, "title": title, "items": ranking_rows(ranking), "model": model.version}
    return JSONResponse(body)


@router.put(
    "/{item_id}/hidden",
    response_model=HiddenOut,
    responses=problems(404, 503),
    dependencies=[needs("admin")],
)
async def hide_item(service: ServiceDep, item: ItemIdDep) -> Response:
    """Hide an item from every ranking; events with it are still accepted."""
    return _hidden(await service.hide_items([item], hidden=True), item)


@router.delete(
    "/{item_id}/hidden",
    response_model=HiddenOut,
    responses=problems(404, 503),
    dependencies=[needs("admin")],
)
async def show_item(service: ServiceDep, item: ItemIdDep) -> Response:
    """Show a hidden item in rankings again."""
    return _hidden(await service.hide_items([item], hidden=False), item)


def _hidden(model: ServedModel, item: ItemId) -> Response:
    hidden = model.personaliser.hidden
    return JSONResponse({"item": item, "hidden": item in hidden, "num_hidden": len(hidden)})


@router.post(
    "",
    status_code=201,
    response_model=AddedOut,
    responses=problems(400, 409, 413, 503),
    dependencies=[needs("admin")],
)
async def add_items(
    service: ServiceDep, request: Annotated[ItemsIn, Body(openapi_examples=_EXAMPLES)]
) -> Response:
    """Add items by their text alone; they can be ranked and rated at once."""
    items = [
        NewItem(
            id=new_id(service, one.id),
            title=" ".join(one.title.split()),
            text=one.text,
            attributes=one.attributes,
        )
        for one in request.items
    ]
    model = await service.add_items(items)
    added = model.num_items - model.num_trained
    return JSONResponse(
        {"total": model.num_items, "added": added, "room": model.room - added}, status_code=201
    )
