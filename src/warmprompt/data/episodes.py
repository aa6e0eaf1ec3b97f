"""Episodes: one user's events parted into a support set to adapt on and a query set to be judged by.

An episode depends on the seed, the round and the user's id alone, never on which
other users are drawn or in what order.

B is users, K support events (padded), Q query events (padded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.types import Support, short_repr

Order = Literal["random", "time"]

NUM_QUERY = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One user's task; positions index the user's events in the data set's order.

    Attributes:
        user: Index of the user.
        support: Positions of the support events among the user's events, (K,).
        query: Positions of the query events, (Q,), at least one; disjoint from the support.
    """

    user: int
    support: NDArray[np.int64]
    query: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class EventBatch:
    """Events of several users, padded on the right.

    Attributes:
        items_BK: Item indexes; 0 where padded.
        ratings_BK: Ratings; NaN where the event has none or is padding.
        mask_BK: True at events, False at padding.
        strengths_BK: How much each event counts, 1 where padded; None where all count the same.
    """

    items_BK: NDArray[np.int64]
    ratings_BK: NDArray[np.float32]
    mask_BK: NDArray[np.bool_]
    strengths_BK: NDArray[np.float32] | None = None

    __repr__ = short_repr

    @property
    def num_users(self) -> int:
        """B."""
        return len(self.items_BK)


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeBatch:
    """Support and query of the same users, row by row."""

    users: tuple[int, ...]
    support: EventBatch
    query: EventBatch

    __repr__ = short_repr


def draw_episode(  # noqa: PLR0913 - what makes an episode, by keyword
    dataset: Dataset,
    user: int,
    *,
    seed: int,
    round_index: int,
    max_support: int,
    order: Order = "random",
    num_query: int = NUM_QUERY,
    num_support: int | None = None,
    rest_in_query: bool = False,
) -> Episode:
    """Draw one user's episode.

    The query has min(num_query, half the history) events, at least one. `random` permutes the
    history; `time` keeps its order and starts the support at the first event, the query right after it.

    Args:
        dataset: Events in order per user.
        user: Index of a user with at least one event.
        seed: The run's seed.
        round_index: Another round gives another draw.
        max_support: K is drawn evenly from 0 to this, or to what the history leaves.
        order: How events are ordered before they are parted.
        num_query: Largest query.
        num_support: Fix K instead of drawing it (still cut to what the history leaves).
        rest_in_query: Add what the support leaves to the query; the support is drawn as without.

    Raises:
        BadInputError: The user has no events.
    """
    events = dataset.interactions.events_of(user)
    length = events.stop - events.start
    if length < 1:
        raise BadInputError(
            field="episode", value=f"user {dataset.user_ids[user]}", remedy="Draw users with events only."
        )
    rng = derive(seed, "episode", round_index, str(dataset.user_ids[user]))
    num_query = max(1, min(num_query, length // 2))
    largest = min(max_support, length - num_query)
    # The permutation comes first, so that it does not depend on K: supports of one round are nested.
    positions = np.arange(length) if order == "time" else rng.permutation(length)
    k = int(rng.integers(0, largest + 1)) if num_support is None else min(num_support, largest)
    if order == "time":
        last = length if rest_in_query else k + num_query
        return Episode(user=user, support=positions[:k], query=positions[k:last])
    support, query = positions[num_query : num_query + k], positions[:num_query]
    if rest_in_query:
        query = np.concatenate([query, positions[num_query + k :]])
    return Episode(user=user, support=support, query=query)


def batch_episodes(dataset: Dataset, episodes: Sequence[Episode]) -> EpisodeBatch:
    """Gather the events of several episodes into padded arrays."""
    return EpisodeBatch(
        users=tuple(episode.user for episode in episodes),
        support=_gather(dataset, [(episode.user, episode.support) for episode in episodes]),
        query=_gather(dataset, [(episode.user, episode.query) for episode in episodes]),
    )


def batch_supports(supports: Sequence[Support]) -> EventBatch:
    """Gather the supports of unseen users into padded arrays."""
    strengths = [support.strengths_K for support in supports]
    return _pad(
        [support.items_K for support in supports], [support.ratings_K for support in supports], strengths
    )


def join(batch: EpisodeBatch) -> EventBatch:
    """Return support and query as one set of events, for learners that do not part them."""
    strengths = [one.strengths_BK for one in (batch.support, batch.query) if one.strengths_BK is not None]
    return EventBatch(
        strengths_BK=np.concatenate(strengths, axis=1) if strengths else None,
        items_BK=np.concatenate([batch.support.items_BK, batch.query.items_BK], axis=1),
        ratings_BK=np.concatenate([batch.support.ratings_BK, batch.query.ratings_BK], axis=1),
        mask_BK=np.concatenate([batch.support.mask_BK, batch.query.mask_BK], axis=1),
    )


def _gather(dataset: Dataset, parts: Sequence[tuple[int, NDArray[np.int64]]]) -> EventBatch:
    events = dataset.interactions
    rows = [int(events.offsets[user]) + positions for user, positions in parts]
    nothing = np.full(0, np.nan, dtype=np.float32)
    ratings = [
        np.full(len(row), np.nan, dtype=np.float32) if events.ratings is None else events.ratings[row]
        for row in rows
    ]
    strengths = [dataset.strengths_at(row) for row in rows]
    return _pad([events.items[row] for row in rows], ratings or [nothing], strengths)


def _pad(
    items: Sequence[NDArray[np.int32]],
    ratings: Sequence[NDArray[np.float32]],
    strengths: Sequence[NDArray[np.float32] | None],
) -> EventBatch:
    width = max((len(one) for one in items), default=0)
    items_BK = np.zeros((len(items), width), dtype=np.int64)
    ratings_BK = np.full((len(items), width), np.nan, dtype=np.float32)
    mask_BK = np.zeros((len(items), width), dtype=np.bool_)
    for row, (one, rating) in enumerate(zip(items, ratings, strict=True)):
        items_BK[row, : len(one)] = one
        ratings_BK[row, : len(one)] = rating
        mask_BK[row, : len(one)] = True
    return EventBatch(
        items_BK=items_BK,
        ratings_BK=ratings_BK,
        mask_BK=mask_BK,
        strengths_BK=pad_strengths(strengths, width),
    )


def pad_strengths(strengths: Sequence[NDArray[np.float32] | None], width: int) -> NDArray[np.float32] | None:
    """Return strengths side by side, padded with 1; None where no user has any."""
    if all(one is None for one in strengths):
        return None
    strengths_BK = np.ones((len(strengths), width), dtype=np.float32)
    for row, one in enumerate(strengths):
        if one is not None:
            strengths_BK[row, : len(one)] = one
    return strengths_BK
