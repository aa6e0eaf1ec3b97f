"""Users as JSON lines, one object each, as the service takes them.

    {"user": "a", "events": [{"item": 5, "rating": 4.0}, 17], "about": "I like ...", "attributes": {...}}

All but `user` may be left out; an event that is only an id has no rating.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from warmprompt.adaptation.events import Known
from warmprompt.adaptation.many_users import UserToRank, latest
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.selection import known_item
from warmprompt.data.readers.json_lines import json_objects
from warmprompt.data.readers.lines import TextFile, open_text
from warmprompt.data.readers.source import RejectLog
from warmprompt.errors import BadInputError, UserError
from warmprompt.types import Event

_KEYS = {"user", "events", "about", "attributes"}
_EVENT_KEYS = {"item", "rating", "weight", "time_s", "text"}
_SHOWN = 5


@dataclass(kw_only=True, eq=False)
class UserObjects:
    """The users of a file, checked; iterate to read them again one by one.

    Attributes:
        num_users: Objects that tell of a user.
        num_events: Their events.
        num_unknown: Events left out because the model does not know their item.
        unknown_items: A few of those items.
        log: Lines that were refused.
        whole_ids: Whether every user's id is a number; otherwise all are text.
    """

    text: TextFile
    model: Personaliser
    whole_ids: bool = True
    num_users: int = 0
    num_events: int = 0
    num_unknown: int = 0
    unknown_items: list[str] = field(default_factory=list)
    log: RejectLog = field(default_factory=lambda: RejectLog("users"))

    def __iter__(self) -> Iterator[UserToRank]:
        """Yield the users of the lines that hold one."""
        for _, given in _objects(self.text, RejectLog("users")):
            try:
                one, _, _ = _checked(given, self.model)
            except UserError:
                continue
            yield one if self.whole_ids else replace(one, user=str(one.user))


def read_objects(path: Path, model: Personaliser) -> UserObjects:
    """Read and check every object of a file.

    Args:
        path: Plain or gzip.
        model: Knows the items, and the attributes of a user.

    Raises:
        BadInputError: The file cannot be read, or holds no user.
    """
    found = UserObjects(text=open_text(path), model=model)
    for line, given in _objects(found.text, found.log):
        try:
            one, num_events, unknown = _checked(given, model)
        except UserError as error:
            # Counted by what is wrong, wherever in the object it is.
            what = re.sub(r"event \d+", "event", f"{error.field}: {error.remedy}").rstrip(".")
            found.log.reject(what, [line])
            continue
        found.log.accept(1)
        found.num_users += 1
        found.whole_ids &= isinstance(one.user, int)
        found.num_events += num_events
        found.num_unknown += len(unknown)
        new = [one for one in dict.fromkeys(unknown) if one not in found.unknown_items]
        found.unknown_items += new[: _SHOWN - len(found.unknown_items)]
    if not found.num_users and not found.log.num_rejects:
        raise BadInputError(field=str(path), value="no user", remedy='Give lines such as {"user": "a"}.')
    return found


def _objects(text: TextFile, log: RejectLog) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for some in json_objects(text, log):
        yield from some


def _checked(given: Mapping[str, Any], model: Personaliser) -> tuple[UserToRank, int, list[str]]:
    """Return a user, how many events were given, and the items among them that the model does not know."""
    _refuse_others(given, _KEYS, field="object")
    user = given.get("user")
    if isinstance(user, bool) or not isinstance(user, str | int) or user == "":
        raise BadInputError(field="user id", value=user, remedy="Give text or a whole number.")
    rows = given.get("events") or []
    if not isinstance(rows, list):
        raise BadInputError(field="events", value=rows, remedy="Give a list of events or item ids.")
    events, unknown = [], []
    for row in rows:
        values = row if isinstance(row, Mapping) else {"item": row}
        _refuse_others(values, _EVENT_KEYS, field="event")
        item = known_item(values.get("item"), model.index)
        if item is None:
            unknown.append(str(values.get("item")))
        else:
            events.append(Event(**{**values, "item": item}))
    known = Known(events=events, about=given.get("about"), attributes=given.get("attributes"))
    one = latest(user, known)
    model.checked(one.known)
    return one, len(rows), unknown


def _refuse_others(given: Mapping[str, Any], keys: set[str], *, field: str) -> None:
    others = sorted(set(given) - keys)
    if others:
        raise BadInputError(
            field=f"{field}, {others[0]}",
            value=given[others[0]],
            remedy=f"Known are {', '.join(sorted(keys))}.",
        )
