"""The tables in memory: events grouped by user, items and users by row.

N is users, V items, E events. Indexes are positions in `user_ids` and
`item_ids`; everything numerical works on indexes, ids are for people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.data.strength import strengths
from warmprompt.types import Floats, Ints, ItemId, UserId, short_repr

if TYPE_CHECKING:
    from warmprompt.data.readers.source import Repeats, TimeUnit


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions:
    """Events grouped by user, each user's events in order (by time where known).

    Attributes:
        offsets: User u's events lie at offsets[u]:offsets[u + 1], (N + 1,).
        items: Item index per event, (E,).
        ratings: Rating per event, (E,), NaN where missing; None when no event has one.
        times_s: Seconds since 1970 per event, (E,); None when there are no times.
        weights: Count or amount per event, (E,), above 0, NaN where missing; None when no event has one.
        texts: What the user wrote per event, (E,), null where nothing; None when no event has one.
    """

    offsets: NDArray[np.int64]
    items: Ints
    ratings: Floats | None
    times_s: NDArray[np.int64] | None
    weights: Floats | None = None
    texts: pl.Series | None = None

    __repr__ = short_repr

    @property
    def num_users(self) -> int:
        """N, users with or without events."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        """E, the number of events."""
        return len(self.items)

    def events_of(self, user: int) -> slice:
        """Return the slice of the event arrays that belongs to user index `user`."""
        return slice(int(self.offsets[user]), int(self.offsets[user + 1]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Dataset:
    """Interactions with the text and attributes of their items and users.

    Attributes:
        name: How the data set is called in tables ("ml-100k").
        content_hash: SHA-256 over the tables at rest (or of the arrays, for synthetic worlds).
        user_ids, item_ids: Index to id; ids are all strings or all integers.
        interactions: The events.
        items: V rows aligned with `item_ids`: column `title` (string, "" if none) and attribute
            columns of type string or list of strings (`genres`, `year`, `categories` ...).
        users: N rows aligned with `user_ids`: attribute columns of type string; null where unknown.
        rating_scale: (lowest, highest) possible rating, or None without ratings.
        weight_unit: The weight that counts 1 (see `strength`), or None without weights.
    """

    name: str
    content_hash: str
    user_ids: tuple[UserId, ...]
    item_ids: tuple[ItemId, ...]
    interactions: Interactions
    items: pl.DataFrame
    users: pl.DataFrame
    rating_scale: tuple[float, float] | None
    weight_unit: float | None = None

    @classmethod
    def from_frames(  # noqa: PLR0913 - the options of an import
        cls,
        interactions: Any,
        items: Any = None,
        users: Any = None,
        *,
        columns: Mapping[str, str] | None = None,
        name: str = "frames",
        rating_scale: tuple[float, float] | None = None,
        not_rated: Sequence[float | str] = (),
        event_weights: Mapping[str, float] | None = None,
        repeats: Repeats | None = None,
        time_unit: TimeUnit | None = None,
        max_rejects: float = 0.0,
        progress: Callable[[str], None] | None = None,
    ) -> Dataset:
        """Return the data set of DataFrames, checked as an import of files is.

        Frames are polars, pandas or pyarrow tables, or anything that streams Arrow. Columns are named as
        RecTools names them, or as `columns` maps them:

            interactions   user_id, item_id; perhaps rating, weight (a count or an amount), datetime, text
            items          item_id; every other column is an attribute, and `title` is what people read
            users          user_id; every other column is an attribute

        Args:
            interactions: A row per event.
            items: A row per item, or RecTools' long form (id, feature, value); None knows ids alone.
            users: A row per user, likewise.
            columns: Our name to the frame's column, such as {"user": "uid", "rating": "stars"}: user, item,
                rating, weight, label, event, time, text, title, or any attribute's new name.
            name: How the data set is called in runs and tables.
            rating_scale: Lowest and highest possible rating; the ones seen when left out.
            not_rated: Values of the rating column that stand for "not rated".
            event_weights: Weight per type of event, such as {"view": 1, "purchase": 5}; 0 makes it none.
            repeats: Of several events of a user with an item, `last` keeps the latest, `count` how many.
            time_unit: `s`, `ms`, `us`, `ns` or `iso`; found out when left out. Dates need none.
            max_rejects: Highest share of malformed rows in each frame; they are left out.
            progress: Receives in a few lines how the frames were understood.

        Raises:
            BadInputError: Something is no frame, a column is missing or cannot be what it is said to be,
                ids of two frames do not join, or no event is left.
            RejectsError: More malformed rows than allowed; names the first of them, counted from 1.
        """
        from warmprompt.data.from_source import dataset_of_source
        from warmprompt.data.readers.frames import FrameOptions, frames_source
        from warmprompt.data.readers.source import FeedbackOptions

        source = frames_source(
            interactions,
            items,
            users,
            columns=columns,
            options=FrameOptions(
                rating_scale=rating_scale,
                time_unit=time_unit,
                feedback=FeedbackOptions(
                    not_rated=tuple(map(str, not_rated)), event_weights=event_weights, repeats=repeats
                ),
            ),
        )
        return dataset_of_source(source, name=name, max_rejects=max_rejects, progress=progress)

    def __repr__(self) -> str:
        """Return one line: the name and how much it holds."""
        scale = self.rating_scale
        rated = "no ratings" if scale is None else f"ratings {scale[0]:g} to {scale[1]:g}"
        return (
            f"Dataset({self.name[:60]!r}, {self.num_users:,} users, {self.num_items:,} items, "
            f"{len(self.interactions):,} events, {rated})"
        )

    def strengths_at(self, rows: NDArray[np.int64] | slice) -> Floats | None:
        """Return how much these events count, 1 the ordinary one; None without weights."""
        if self.interactions.weights is None or self.weight_unit is None:
            return None
        return strengths(self.interactions.weights[rows], self.weight_unit)

    def texts_at(self, rows: NDArray[np.int64] | slice) -> tuple[str | None, ...] | None:
        """Return what users wrote with these events; None where none of them has a text."""
        if self.interactions.texts is None:
            return None
        texts = self.interactions.texts[rows]
        return tuple(texts) if texts.null_count() < len(texts) else None

    @property
    def num_users(self) -> int:
        """N."""
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        """V, items with or without events."""
        return len(self.item_ids)


def take_users(dataset: Dataset, users: NDArray[np.int64]) -> Dataset:
    """Return the data set of only these users, in the order given; the item index is unchanged."""
    old = dataset.interactions
    lengths = old.offsets[users + 1] - old.offsets[users]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows = np.repeat(old.offsets[users] - offsets[:-1], lengths) + np.arange(offsets[-1])
    return replace(
        dataset,
        user_ids=tuple(dataset.user_ids[int(u)] for u in users),
        users=dataset.users[users.tolist()] if dataset.users.width else dataset.users,
        interactions=_events_at(old, rows, offsets=offsets),
    )


def keep_events(dataset: Dataset, keep_E: NDArray[np.bool_]) -> Dataset:
    """Return the data set with only the events where `keep_E` is true; users and items stay."""
    old = dataset.interactions
    kept_before = np.concatenate([[0], np.cumsum(keep_E)])
    offsets = kept_before[old.offsets].astype(np.int64)
    return replace(dataset, interactions=_events_at(old, np.flatnonzero(keep_E), offsets=offsets))


def _events_at(events: Interactions, rows: NDArray[np.int64], *, offsets: NDArray[np.int64]) -> Interactions:
    return Interactions(
        offsets=offsets,
        items=events.items[rows],
        ratings=None if events.ratings is None else events.ratings[rows],
        times_s=None if events.times_s is None else events.times_s[rows],
        weights=None if events.weights is None else events.weights[rows],
        texts=None if events.texts is None else events.texts.gather(rows),
    )


def popularity(dataset: Dataset) -> NDArray[np.int64]:
    """Return the number of events per item, (V,)."""
    return np.bincount(dataset.interactions.items, minlength=dataset.num_items).astype(np.int64)
