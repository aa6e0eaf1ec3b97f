"""A ranking as callers get it."""

from __future__ import annotations

from dataclasses import dataclass

from warmprompt.types import ItemId


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The best items for a user, best first; equal scores are ordered as the catalogue is.

    Attributes:
        items: Item ids.
        titles: Their titles.
        scores: Their scores; only differences between items of one user mean something.
    """

    items: tuple[ItemId, ...]
    titles: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        """Places filled; fewer than asked for where there are fewer candidates."""
        return len(self.items)
