"""Checks of requests against the model in service, before anything is written."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from warmprompt.adaptation.engine import check_text
from warmprompt.adaptation.events import checked_attributes, checked_events, user_text
from warmprompt.adaptation.selection import Selection, filter_mask, known_item, written_number
from warmprompt.data.attributes import Filter
from warmprompt.errors import UnknownNameError
from warmprompt.service.ranking import EVERYTHING
from warmprompt.service.schemas import EventIn, EventsIn
from warmprompt.service.service import Service
from warmprompt.service.user_history import Profile, UserHistory, with_profile
from warmprompt.types import Event, ItemId


async def events_of(service: Service, given: Sequence[EventIn]) -> list[Event]:
    """Return checked events, in the order of the request.

    Raises:
        UnknownNameError: An item that the catalogue does not have.
        BadInputError: An invalid rating or time; names the event's position.
    """
    items = await items_of(service, [one.item for one in given], field="item of event")
    events = [
        Event(item=item, rating=one.rating, time_s=one.time_s, weight=one.weight, text=one.text)
        for item, one in zip(items, given, strict=True)
    ]
    personaliser = service.users.model.personaliser
    checked_events(
        events,
        index=personaliser.index,
        scale=personaliser.rating_scale,
        weighted=personaliser.weight_unit is not None,
        now_s=personaliser.clock(),
    )
    return events


async def items_of(service: Service, given: Sequence[ItemId], *, field: str) -> list[ItemId]:
    """Return the items of the catalogue for ids that are written as numbers or as text.

    Raises:
        UnknownNameError: An item that the catalogue does not have; similar ones are not searched, for speed.
    """
    if service.settings.shared and any(known_item(item, _index(service)) is None for item in given):
        await service.sync_items()
    found = []
    for index, one in enumerate(given):
        item = known_item(one, _index(service))
        if item is None:
            raise UnknownNameError(field=f"{field} {index}", value=one, remedy=_unknown_item(service))
        found.append(item)
    return found


def new_id(service: Service, given: ItemId) -> ItemId:
    """Return the id of a new item; a text of digits becomes a number if the catalogue's ids are numbers."""
    number = written_number(given) if isinstance(given, str) else None
    return given if number is None or isinstance(next(iter(_index(service))), str) else number


async def selection_of(
    service: Service,
    *,
    candidates: Sequence[ItemId] | None = None,
    exclude: Sequence[ItemId] | None = None,
    filter: Filter | None = None,  # noqa: A002 - the usual word
) -> Selection:
    """Return which items a request wants ranked, checked.

    Raises:
        UnknownNameError: An item, an attribute or a value of one that the catalogue does not have.
        BadInputError: An invalid filter.
    """
    if candidates is None and not exclude and not filter:
        return EVERYTHING
    if filter:
        filter_mask(filter, service.users.model.personaliser.engine.trained.attributes)
    wanted = None if candidates is None else await items_of(service, candidates, field="candidate")
    unwanted = await items_of(service, exclude or (), field="exclude")
    return Selection(candidates=wanted, exclude=unwanted or None, filter=filter or None)


async def checked_profile(service: Service, user: str, request: EventsIn) -> Profile | None:
    """Return the request's change of the user's profile, or None.

    Raises:
        BadInputError: The whole profile would be longer than the model reads.
    """
    if request.about is None and request.attributes is None:
        return None
    profile = Profile(about=request.about, attributes=request.attributes)
    cached = await service.users.get(user)
    check_profile(service, profile, before=UserHistory() if cached is None else cached.history)
    return profile


def check_profile(service: Service, profile: Profile, *, before: UserHistory | None = None) -> None:
    """Refuse a profile that is longer than the model reads.

    Raises:
        BadInputError: It is too long.
    """
    whole = with_profile(before or UserHistory(), profile)
    attributes = checked_attributes(whole.attributes)
    check_text(service.users.model.personaliser.engine, user_text(whole.about, attributes))


def latest_of(events: Sequence[Event]) -> list[Event]:
    """Return the last event with each item, oldest first."""
    latest: dict[ItemId, Event] = {}
    for event in events:
        latest.pop(event.item, None)
        latest[event.item] = event
    return list(latest.values())


def _unknown_item(service: Service) -> str:
    first = next(iter(_index(service)))
    kind = "texts" if isinstance(first, str) else "whole numbers"
    return (
        f"The catalogue does not have it; its ids are {kind} such as {json.dumps(first)}. Look them up by "
        "title with GET /v1/items?q=..."
    )


def _index(service: Service) -> Mapping[ItemId, int]:
    return service.users.model.personaliser.index
