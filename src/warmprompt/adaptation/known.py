"""Inputs of one user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warmprompt.adaptation.events import user_text
from warmprompt.types import Event, short_repr


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
