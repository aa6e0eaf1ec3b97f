"""Rankings from inputs in the request, which are not stored."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Request
from starlette.responses import Response

from warmprompt.adaptation.personaliser import Known
from warmprompt.service.catalogue_schemas import filter_in
from warmprompt.service.checks import check_profile, events_of, latest_of, selection_of
from warmprompt.service.ranking import ranked_json
from warmprompt.service.routes.common import BudgetDep, ServiceDep, needs, problems
from warmprompt.service.schemas import RankIn, RankingOut
from warmprompt.service.settings import TEXT_PRICE
from warmprompt.service.user_history import Profile

router = APIRouter(prefix="/v1", tags=["rank"])

_EXAMPLES: Any = {
    "a sentence and an event": {
        "value": {"about": "I like quiet films about people", "events": [{"item": 50, "rating": 5}], "n": 5}
    },
    "candidates": {"value": {"events": [{"item": 50}], "candidates": [100, 127, 258]}},
    "comedies of the nineties": {
        "value": {"exclude": [100], "filter": {"genres": "Comedy", "year": {"min": 1990, "max": 1999}}}
    },
}


@router.post(
    "/rank", response_model=RankingOut, responses=problems(400, 413, 503), dependencies=[needs("read")]
)
async def rank(
    service: ServiceDep,
    budget: BudgetDep,
    request: Annotated[RankIn, Body(openapi_examples=_EXAMPLES)],
    http: Request,
) -> Response:
    """Rank for the inputs in the request; none of them are stored."""
    events = latest_of(await events_of(service, request.events))
    profile = Profile(about=request.about, attributes=request.attributes)
    check_profile(service, profile)
    known = Known(events=events, about=request.about or None, attributes=request.attributes or {})
    num_texts = service.users.num_texts(events, profile if known.text else None)
    service.auth.charge(http, TEXT_PRICE * num_texts)
    selection = await selection_of(
        service, candidates=request.candidates, exclude=request.exclude, filter=filter_in(request.filter)
    )
    answer = await service.users.state_of(known, budget_s=budget)
    page = await ranked_json(service.users, answer, request.n, selection=selection, ordered=request.ordered)
    return Response(page, media_type="application/json")
