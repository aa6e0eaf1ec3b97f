"""Inputs of one user and their checks: everything wrong is refused by name, nothing is dropped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from types import MappingProxyType

import numpy as np

from warmprompt.data.strength import strengths
from warmprompt.data.verbalise import describe_attributes
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.rng import derive
from warmprompt.types import MAX_TEXT, Event, ItemId, Support, short_repr

MAX_EVENTS = 1000


@dataclass(frozen=True, kw_only=True)
class Known:
    """Inputs of one user, for `Personaliser.adapt_many`.

    Attributes:
        events: What the user did.
        about: A sentence about the user, or None.
        attributes: The user's attributes, or None.
    """

    events: Sequence[Event] = ()
    about: str | None = None
    attributes: Mapping[str, str] | None = None

    __repr__ = short_repr

    @cached_property
    def text(self) -> str:
        """What the model reads about the user, "" where nothing is given."""
        return user_text(self.about, self.attributes or {})


def checked_known(
    known: Known,
    *,
    index: Mapping[ItemId, int],
    scale: tuple[float, float] | None,
    weighted: bool,
    now_s: float,
) -> Known:
    """Return a user's inputs as they count; arguments and errors as those of `checked_events`."""
    return Known(
        events=checked_events(known.events, index=index, scale=scale, weighted=weighted, now_s=now_s),
        about=checked_about(known.about),
        attributes=checked_attributes(known.attributes),
    )


def checked_events(
    events: Sequence[Event],
    *,
    index: Mapping[ItemId, int],
    scale: tuple[float, float] | None,
    weighted: bool,
    now_s: float,
) -> tuple[Event, ...]:
    """Return the events as they count: of several with the same item, the last one given.

    Args:
        events: in the order given.
        index: Item id to position.
        scale: (lowest, highest) rating, or None where the model was trained without ratings.
        weighted: Whether the model was trained with weights.
        now_s: Seconds since 1970; nothing can have happened later.

    Raises:
        UnknownNameError: An item that the model was not trained with.
        BadInputError: Something else is wrong with an event; names its position.
    """
    if isinstance(events, Event | str | bytes | Mapping) or not isinstance(events, Sequence):
        raise BadInputError(field="events", value=events, remedy="Give a list of warmprompt.Event.")
    if len(events) > MAX_EVENTS:
        raise BadInputError(
            field="events", value=len(events), remedy=f"Give at most {MAX_EVENTS}, the latest ones."
        )
    latest: dict[ItemId, Event] = {}
    for position, event in enumerate(events):
        if not isinstance(event, Event):
            remedy = "Give warmprompt.Event(item=..., rating=...)."  # type: ignore[unreachable]
            raise BadInputError(field=f"event {position}", value=event, remedy=remedy)
        item: object = event.item
        if isinstance(item, bool) or not isinstance(item, str | int) or item not in index:
            raise unknown_item(item, index, field=f"item of event {position}")
        if event.rating is not None:
            _check_rating(event.rating, f"rating of event {position}", scale)
        if event.time_s is not None:
            _check_time(event.time_s, f"time of event {position}", now_s)
        if event.weight is not None:
            _check_weight(event.weight, f"weight of event {position}", weighted=weighted)
        if event.text is not None:
            _check_text(event.text, f"text of event {position}")
        latest.pop(event.item, None)
        latest[event.item] = event
    return tuple(latest.values())


def support_of(
    events: Sequence[Event],
    *,
    index: Mapping[ItemId, int],
    weight_unit: float | None,
    about: str | None = None,
    attributes: Mapping[str, str] | None = None,
    ordered: bool = False,
) -> Support:
    """Return what is known of a user as the support set that models take.

    Args:
        events: From `checked_events`.
        index: Item id to position.
        weight_unit: The weight that counts 1, or None where the model was trained without weights.
        about: A sentence about the user.
        attributes: Of the user.
        ordered: Whether they are all the user's events, oldest first.
    """
    ratings = [math.nan if event.rating is None else event.rating for event in events]
    strengths_K = None
    if weight_unit is not None:
        weights = [math.nan if event.weight is None else event.weight for event in events]
        strengths_K = strengths(np.array(weights), weight_unit)
    texts_K = tuple((event.text or "").strip() or None for event in events)
    return Support(
        user="",
        items_K=np.array([index[event.item] for event in events], dtype=np.int32),
        ratings_K=np.array(ratings, dtype=np.float32),
        strengths_K=strengths_K,
        ordered=ordered,
        texts_K=texts_K if any(texts_K) else None,
        about=about,
        attributes=attributes or {},
    )


def checked_attributes(attributes: Mapping[str, str] | None) -> Mapping[str, str]:
    """Return a copy that cannot be written to, keys in alphabetical order.

    Raises:
        BadInputError: Not a mapping of text to text.
    """
    if attributes is None:
        return MappingProxyType({})
    if not isinstance(attributes, Mapping):
        raise BadInputError(
            field="attributes", value=attributes, remedy='Give a mapping such as {"occupation": "artist"}.'
        )
    given: list[tuple[object, object]] = list(attributes.items())
    for key, value in given:
        if not (isinstance(key, str) and isinstance(value, str) and key.strip() and _is_text(key + value)):
            raise BadInputError(
                field="attributes", value=f"{key}: {value!r}", remedy="Write names and values as text."
            )
    return MappingProxyType(dict(sorted(attributes.items())))


def checked_about(about: str | None) -> str | None:
    """Return the sentence without outer white space, None where nothing is left.

    Raises:
        BadInputError: Not a text.
    """
    if about is None:
        return None
    given: object = about
    if not isinstance(given, str) or not _is_text(given):
        raise BadInputError(field="about", value=about, remedy="Give a sentence about the user as text.")
    return " ".join(about.split()) or None


def _is_text(text: str) -> bool:
    """Tell whether every character is one: bytes that are not UTF-8 arrive as halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def user_text(about: str | None, attributes: Mapping[str, str]) -> str:
    """Return what the model reads about a user: who they are, then the sentence about them.

    Attributes always have the same wording, so that the same user gives the same text.
    """
    who = describe_attributes(attributes, rng=derive(0, "wording")) if attributes else ""
    if who and about:
        return f"{who} {about}" if who.endswith((".", "!", "?")) else f"{who}. {about}"
    return who or about or ""


def unknown_item(item: object, index: Mapping[ItemId, int], *, field: str) -> UnknownNameError:
    """Return the error for an item id that the model does not have."""
    known = {str(one): one for one in index}
    if str(item) in known:
        kind = "text" if isinstance(known[str(item)], str) else "a number"
        remedy = f"Write the id as {kind}: {known[str(item)]!r}."
    else:
        near = get_close_matches(str(item), known, n=3, cutoff=0.5)
        hint = f"The nearest ids are {', '.join(near)}. " if near else ""
        remedy = f"{hint}The model was trained without it; look ids up by title with find()."
    return UnknownNameError(field=field, value=item, remedy=remedy)


def _check_rating(rating: object, field: str, scale: tuple[float, float] | None) -> None:
    if isinstance(rating, bool) or not isinstance(rating, int | float) or not math.isfinite(rating):
        raise BadInputError(field=field, value=rating, remedy="Give a finite number, or None.")
    if scale is None:
        remedy = "Leave it out: the model was trained without ratings."
        raise BadInputError(field=field, value=rating, remedy=remedy)
    if not scale[0] <= rating <= scale[1]:
        raise BadInputError(field=field, value=rating, remedy=f"Give {scale[0]:g} to {scale[1]:g}.")


def _check_time(time_s: object, field: str, now_s: float) -> None:
    if isinstance(time_s, bool) or not isinstance(time_s, int) or time_s < 0:
        raise BadInputError(field=field, value=time_s, remedy="Give whole seconds since 1970, or None.")
    if time_s > now_s:
        remedy = "It lies in the future; give seconds, not milliseconds."
        raise BadInputError(field=field, value=time_s, remedy=remedy)


def _check_text(text: object, field: str) -> None:
    if not isinstance(text, str) or not _is_text(text):
        raise BadInputError(field=field, value=text, remedy="Give what the user wrote, as text.")
    if len(text) > MAX_TEXT:
        raise BadInputError(
            field=field,
            value=f"{len(text):,} characters",
            remedy=f"Give at most {MAX_TEXT:,} characters.",
        )


def _check_weight(weight: object, field: str, *, weighted: bool) -> None:
    is_number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
    if not is_number or not weight > 0:  # type: ignore[operator]
        raise BadInputError(field=field, value=weight, remedy="Give a number above 0, or None.")
    if not weighted:
        remedy = "Leave it out: the model was trained without weights."
        raise BadInputError(field=field, value=weight, remedy=remedy)
