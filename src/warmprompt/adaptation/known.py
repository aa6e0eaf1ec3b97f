"""Inputs of one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warmprompt.adaptation.events import checked_about, checked_attributes, checked_events, user_text
from warmprompt.types import Event, ItemId, short_repr


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

    @property
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
    """Return a user's inputs as they count; arguments and errors as those of `events.checked_events`."""
    return Known(
        events=checked_events(known.events, index=index, scale=scale, weighted=weighted, now_s=now_s),
        about=checked_about(known.about),
        attributes=checked_attributes(known.attributes),
    )
