"""What a user's log says, summed up: the last event with each item, and the profile.

The log is the truth; this is read off it, entry by entry, and never the other way round.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from warmprompt.adaptation.events import MAX_EVENTS
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.store.contract import NO_EVIDENCE, Entry, Recorded
from warmprompt.types import Event, ItemId

EVENT, PROFILE = "event", "profile"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What a user says of themselves at one time; None leaves what was said before.

    Attributes:
        about: A sentence; "" takes the former one back.
        attributes: All of them; an empty mapping takes the former ones back.
    """

    about: str | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Told:
    """The first `seq` entries of a user's log.

    Attributes:
        seq: Entries read.
        evidence_hash: Of these entries.
        events: The last event with each item, oldest first.
        about: The last sentence, or None.
        attributes: The last ones told.
    """

    seq: int = 0
    evidence_hash: str = NO_EVIDENCE
    events: Mapping[ItemId, Event] = field(default_factory=lambda: MappingProxyType({}))
    about: str | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def entry_of(told: Event | Profile) -> Entry:
    """Return what the log keeps of an event or a profile: compact JSON, keys in order."""
    if isinstance(told, Event):
        weight = {} if told.weight is None else {"weight": told.weight}
        return _entry(EVENT, {"item": told.item, "rating": told.rating, "time_s": told.time_s, **weight})
    attributes = None if told.attributes is None else dict(told.attributes)
    return _entry(PROFILE, {"about": told.about, "attributes": attributes})


def after(told: Told, entries: Sequence[Recorded]) -> Told:
    """Return the summary after entries more, which begin right behind it."""
    if not entries:
        return told
    events = dict(told.events)
    about, attributes = told.about, told.attributes
    for entry in entries:
        body = json.loads(entry.body)
        if entry.kind == EVENT:
            events.pop(body["item"], None)
            events[body["item"]] = Event(**body)
        elif entry.kind == PROFILE:
            about = about if body["about"] is None else body["about"] or None
            attributes = attributes if body["attributes"] is None else body["attributes"]
    return Told(
        seq=entries[-1].seq,
        evidence_hash=entries[-1].evidence_hash,
        events=MappingProxyType(events),
        about=about,
        attributes=MappingProxyType(dict(attributes)),
    )


def with_profile(told: Told, profile: Profile) -> Told:
    """Return the summary as it would be after a profile; place and evidence stay."""
    said = Recorded(seq=told.seq, evidence_hash=told.evidence_hash, time_s=0, **vars(entry_of(profile)))
    return after(told, [said])


def known_to(told: Told, personaliser: Personaliser) -> tuple[Known, int]:
    """Return what a model can use of a user, and how many of the events it cannot.

    A log outlives models: an item that this one was not trained with, or a rating outside its scale, is left
    out. A weight counts for nothing where it knows none. Of more than `MAX_EVENTS` events the latest count.
    """
    usable = [event for event in told.events.values() if _usable(event, personaliser)][-MAX_EVENTS:]
    if personaliser.weight_unit is None:
        usable = [event if event.weight is None else replace(event, weight=None) for event in usable]
    known = Known(events=usable, about=told.about, attributes=told.attributes)
    return known, len(told.events) - len(usable)


def _usable(event: Event, personaliser: Personaliser) -> bool:
    if event.item not in personaliser.index:
        return False
    scale = personaliser.rating_scale
    return event.rating is None or (scale is not None and scale[0] <= event.rating <= scale[1])


def _entry(kind: str, body: Mapping[str, Any]) -> Entry:
    return Entry(kind=kind, body=json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False))
