"""What clients tell, checked against the model in service before it is written anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from warmprompt.adaptation.engine import check_text
from warmprompt.adaptation.events import checked_attributes, checked_events, user_text
from warmprompt.errors import UnknownNameError
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
    events = [Event(item=one.item, rating=one.rating, time_s=one.time_s, weight=one.weight) for one in told]
    if service.settings.shared and any(one.item not in _index(service) for one in events):
        await service.sync_items()
    for place, event in enumerate(events):
        check_item(service, event.item, field=f"item of event {place}")
    personaliser = service.users.model.personaliser
    checked_events(
        events,
        index=personaliser.index,
        scale=personaliser.rating_scale,
        weighted=personaliser.weight_unit is not None,
        now_s=personaliser.clock(),
    )
    return events


def check_item(service: Service, item: ItemId, *, field: str) -> None:
    """Refuse an item that the catalogue does not have; no near ones are sought, as that takes long."""
    if item not in _index(service):
        remedy = "The catalogue does not have it; look ids up by title with GET /v1/items?q=..."
        raise UnknownNameError(field=field, value=item, remedy=remedy)


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
