"""Summary of a user's log: the last event with each item, and the profile.

The event log is the source of truth; this summary is derived from it by replay.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from warmprompt.adaptation.events import MAX_EVENTS
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.store.contract import Entry, StoredEntry
from warmprompt.store.evidence import NO_EVIDENCE
from warmprompt.types import Event, ItemId

EVENT, PROFILE = "event", "profile"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A change of a user's description of themselves; None leaves a part as it is.

    Attributes:
        about: A sentence; "" removes the former one.
        attributes: Replace the former ones; an empty mapping removes them.
    """

    about: str | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True)
class UserHistory:
    """The first `seq` entries of a user's log.

    Attributes:
        seq: Entries read.
        evidence_hash: Of these entries.
        events: The last event with each item, oldest first.
        about: The last sentence, or None.
        attributes: The last ones, by name.
    """

    seq: int = 0
    evidence_hash: str = NO_EVIDENCE
    events: Mapping[ItemId, Event] = field(default_factory=lambda: MappingProxyType({}))
    about: str | None = None
    attributes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


def entry_of(record: Event | Profile) -> Entry:
    """Return the log entry of an event or a profile: compact JSON, keys in order."""
    if isinstance(record, Event):
        later = {"weight": record.weight, "text": record.text}
        given = {name: value for name, value in later.items() if value is not None}
        return _entry(EVENT, {"item": record.item, "rating": record.rating, "time_s": record.time_s, **given})
    attributes = None if record.attributes is None else dict(record.attributes)
    return _entry(PROFILE, {"about": record.about, "attributes": attributes})


def apply_entries(history: UserHistory, entries: Sequence[StoredEntry]) -> UserHistory:
    """Return the history after further entries, the first of which follows its last."""
    if not entries:
        return history
    events = dict(history.events)
    about, attributes = history.about, history.attributes
    for entry in entries:
        body = json.loads(entry.body)
        if entry.kind == EVENT:
            events.pop(body["item"], None)
            events[body["item"]] = Event(**body)
        elif entry.kind == PROFILE:
            about = about if body["about"] is None else body["about"] or None
            attributes = attributes if body["attributes"] is None else body["attributes"]
    return UserHistory(
        seq=entries[-1].seq,
        evidence_hash=entries[-1].evidence_hash,
        events=MappingProxyType(events),
        about=about,
        attributes=MappingProxyType(dict(attributes)),
    )


def with_profile(history: UserHistory, profile: Profile) -> UserHistory:
    """Return the history as it would be after a profile; `seq` and evidence hash stay."""
    entry = StoredEntry(
        seq=history.seq, evidence_hash=history.evidence_hash, time_s=0, **vars(entry_of(profile))
    )
    return apply_entries(history, [entry])


def model_inputs(history: UserHistory, personaliser: Personaliser) -> tuple[Known, int]:
    """Return what a model can use of a user's history, and how many of the events it cannot.

    A log outlives models. Items that this model does not have and ratings outside its scale are left out.
    Weights are ignored if it was trained without. Of more than `MAX_EVENTS` events the latest are used.
    """
    usable = [event for event in history.events.values() if _usable(event, personaliser)][-MAX_EVENTS:]
    if personaliser.weight_unit is None:
        usable = [event if event.weight is None else replace(event, weight=None) for event in usable]
    known = Known(events=usable, about=history.about, attributes=history.attributes)
    return known, len(history.events) - len(usable)


def _usable(event: Event, personaliser: Personaliser) -> bool:
    if event.item not in personaliser.index:
        return False
    scale = personaliser.rating_scale
    return event.rating is None or (scale is not None and scale[0] <= event.rating <= scale[1])


def _entry(kind: str, body: Mapping[str, Any]) -> Entry:
    return Entry(kind=kind, body=json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False))
