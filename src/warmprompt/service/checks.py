"""What clients tell, checked against the model in service before it is written anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmprompt.adaptation.engine import check_text
from warmprompt.adaptation.events import checked_attributes, checked_events, user_text
from warmprompt.adaptation.selection import Selection, filter_mask, known_item, written_number
from warmprompt.data.attributes import Filter
from warmprompt.errors import UnknownNameError
from warmprompt.service.ranking import EVERYTHING
from warmprompt.service.schemas import EventIn, EventsIn
from warmprompt.service.service import Service
from warmprompt.service.told import Profile, Told, with_profile
from warmprompt.types import Event, ItemId


async def events_of(service: Service, told: Sequence[EventIn]) -> list[Event]:
    """Return events in the order told, every one of them checked.

    Raises:
        UnknownNameError: An item that the catalogue does not have.
        BadInputError: A rating or a time that cannot be; names the event's position.
    """
    items = await items_of(service, [one.item for one in told], field="item of event")
    events = [
        Event(item=item, rating=one.rating, time_s=one.time_s, weight=one.weight)
        for item, one in zip(items, told, strict=True)
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


async def items_of(service: Service, told: Sequence[ItemId], *, field: str) -> list[ItemId]:
    """Return the items of the catalogue that ids mean, written as numbers or as text.

    Raises:
        UnknownNameError: One that the catalogue does not have; no near ones are sought, as that takes long.
    """
    if service.settings.shared and any(known_item(item, _index(service)) is None for item in told):
        await service.sync_items()
    found = []
    for place, one in enumerate(told):
        item = known_item(one, _index(service))
        if item is None:
            remedy = "The catalogue does not have it; look ids up by title with GET /v1/items?q=..."
            raise UnknownNameError(field=f"{field} {place}", value=one, remedy=remedy)
        found.append(item)
    return found


def new_id(service: Service, told: ItemId) -> ItemId:
    """Return the id of a new item: a number that a text writes, where the catalogue's ids are numbers."""
    number = written_number(told) if isinstance(told, str) else None
    return told if number is None or isinstance(next(iter(_index(service))), str) else number


async def selection_of(
    service: Service,
    *,
    candidates: Sequence[ItemId] | None = None,
    exclude: Sequence[ItemId] | None = None,
    filter: Filter | None = None,  # noqa: A002 - the word that everybody knows
) -> Selection:
    """Return what of the catalogue a request wants ranked, every part of it checked.

    Raises:
        UnknownNameError: An item, an attribute or a value of one that the catalogue does not have.
        BadInputError: The filter cannot be.
    """
    if candidates is None and not exclude and not filter:
        return EVERYTHING
    if filter:
        filter_mask(filter, service.users.model.personaliser.engine.trained.attributes)
    wanted = None if candidates is None else await items_of(service, candidates, field="candidate")
    unwanted = await items_of(service, exclude or (), field="exclude")
    return Selection(candidates=wanted, exclude=unwanted or None, filter=filter or None)


async def checked_profile(service: Service, user: str, told: EventsIn) -> Profile | None:
    """Return what a user says of themselves, None where nothing is said.

    Raises:
        BadInputError: Together with what was said before it is longer than the model reads.
    """
    if told.about is None and told.attributes is None:
        return None
    profile = Profile(about=told.about, attributes=told.attributes)
    held = await service.users.held(user)
    check_said(service, profile, before=Told() if held is None else held.told)
    return profile


def check_said(service: Service, profile: Profile, *, before: Told | None = None) -> None:
    """Refuse a profile that the model would not read to its end.

    Raises:
        BadInputError: It is too long.
    """
    whole = with_profile(before or Told(), profile)
    attributes = checked_attributes(whole.attributes)
    check_text(service.users.model.personaliser.engine, user_text(whole.about, attributes))


def latest_of(events: Sequence[Event]) -> list[Event]:
    """Return the last event with each item, oldest first."""
    latest: dict[ItemId, Event] = {}
    for event in events:
        latest.pop(event.item, None)
        latest[event.item] = event
    return list(latest.values())


def _index(service: Service) -> Mapping[ItemId, int]:
    return service.users.model.personaliser.index
