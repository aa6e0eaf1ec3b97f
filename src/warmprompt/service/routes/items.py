"""The catalogue: looking items up, and taking new ones in by their text."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query
from starlette.responses import JSONResponse, Response

from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.routes.common import ServiceDep, needs, problems
from warmprompt.service.schemas import AddedOut, ItemsIn, ItemsOut
from warmprompt.service.search import found_items
from warmprompt.service.settings import MAX_PLACES

router = APIRouter(prefix="/v1/items", tags=["items"])

_EXAMPLES: Any = {
    "two films": {
        "value": {
            "items": [
                {"id": "new-1", "title": "The Lighthouse Keeper (2026)", "text": "Drama"},
                {"id": "new-2", "title": "Robots at Sea (2026)", "text": "Animation, Comedy"},
            ]
        }
    }
}


@router.get("", response_model=ItemsOut, responses=problems(503), dependencies=[needs("read")])
async def find_items(
    service: ServiceDep,
    q: Annotated[
        str, Query(max_length=200, description="Words of a title; without them the most popular.")
    ] = "",
    n: Annotated[int, Query(ge=1, le=MAX_PLACES, description="Items at most.", examples=[20])] = 20,
) -> Response:
    """Find items by title, forgiving slips, or list the most popular ones."""
    model = service.users.model
    return JSONResponse(await service.users.ask(found_items, model, q, n))


@router.post(
    "",
    status_code=201,
    response_model=AddedOut,
    responses=problems(400, 409, 413, 503),
    dependencies=[needs("admin")],
)
async def add_items(
    service: ServiceDep, told: Annotated[ItemsIn, Body(openapi_examples=_EXAMPLES)]
) -> Response:
    """Take in items by their text alone; they can be ranked, and rated, from now on."""
    items = [NewItem(id=one.id, title=" ".join(one.title.split()), text=one.text) for one in told.items]
    model = await service.add_items(items)
    added = model.num_items - model.num_trained
    return JSONResponse(
        {"total": model.num_items, "added": added, "room": model.room - added}, status_code=201
    )
