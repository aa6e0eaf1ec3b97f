"""One user's evaluation cases: which events are the support, which are the query.

A history is cut by position only; nothing here sees a model. n is a user's
events, K support events, Q query items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.types import Ints, Support

QUERY_SIZE = 10
SHORT_HISTORY = 2 * QUERY_SIZE
GAP = 10

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What one user shows a ranker at one K, and what is held back from it.

    Attributes:
        k: Number of support events.
        support: All that a ranker is given; it refers to nothing below.
        query: Items to be found (the positives), (Q,); also those outside the catalogue.
        held_out: All query events' items; more than `query` where a lowest rating is asked of positives.
        negatives: For `sampled100`, the items each positive is ranked against; else None.
    """

    k: int
    support: Support
    query: Ints
    held_out: Ints
    negatives: Ints | None = None


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a history is cut into support and query.

    Attributes:
        order: "random" (one permutation per user, the query first), or "next", "gap10", "next10" (the
            support is the first K events in time, the query lies after it).
        short: Histories are short: a query holds min(10, half the history) events, at least 1.
        seed: Derives the permutations of "random".
    """

    order: str
    short: bool
    seed: int


def is_short(training: Dataset) -> bool:
    """Return whether the data set's histories are short: the median training user has under 20 events.

    Twice the query of 10: below that, half of the users could not give 10 events to both sides.
    """
    lengths = np.diff(training.interactions.offsets)
    return len(lengths) > 0 and float(np.median(lengths)) < SHORT_HISTORY


def query_size(num_events: int, *, short: bool) -> int:
    """Return how many events the query holds: 10, or min(10, half rounded down), at least 1, where short."""
    return max(1, min(QUERY_SIZE, num_events // 2)) if short else QUERY_SIZE


def cut_history(
    dataset: Dataset, user: int, ks: Sequence[int], cut: Cut
) -> dict[int, tuple[Positions, Positions]]:
    """Return the support and query positions of one user for every K its history allows.

    Positions count from the user's first event. Supports are nested over K and sorted, so oldest
    first; a K that the history is too short for is absent.
    """
    num_events = _num_events(dataset, user)
    positions = np.arange(num_events)
    size = query_size(num_events, short=cut.short)
    if cut.order == "random":
        shuffled = _permutation(dataset, user, cut.seed)
        query, pool = shuffled[:size], shuffled[size:]
        return {k: (np.sort(pool[:k]), query) for k in ks if num_events >= size + k}
    first, last = {"next": (0, 1), "gap10": (GAP, GAP + 1), "next10": (0, size)}[cut.order]
    return {k: (positions[:k], positions[k + first : k + last]) for k in ks if num_events >= k + last}


def cut_new_items(
    dataset: Dataset, user: int, ks: Sequence[int], cut: Cut, new_V: NDArray[np.bool_], *, new_only: bool
) -> dict[int, tuple[Positions, Positions]]:
    """Return the support and query positions of one user for the `cold-item` readings.

    Both walk the permutation of "random". `new_only`: the query is the first 10 events with new
    items (fewer where the user has fewer, at least 1). Otherwise it is the first 10 events as they
    come. Supports hold warm items only, since a new item is one that nothing is known of.
    """
    shuffled = _permutation(dataset, user, cut.seed)
    is_new = new_V[dataset.interactions.items[dataset.interactions.events_of(user)][shuffled]]
    if new_only:
        query, rest = shuffled[is_new][:QUERY_SIZE], shuffled[~is_new]
    else:
        size = query_size(len(shuffled), short=cut.short)
        query, rest = shuffled[:size], shuffled[size:][~is_new[size:]]
        if len(query) < size:
            return {}
    if len(query) == 0:
        return {}
    return {k: (np.sort(rest[:k]), query) for k in ks if len(rest) >= k}


def make_case(
    dataset: Dataset,
    user: int,
    positions: tuple[Positions, Positions],
    *,
    min_rating: float | None,
    attributes: bool,
    ordered: bool,
) -> Case | None:
    """Return the case of one user, or None where no query event reaches `min_rating`.

    The arrays are copies: a ranker that follows them finds nothing of the query. `ordered` says that the
    support is the user's first events in their order.
    """
    events = dataset.interactions
    support, query = (np.asarray(part) + int(events.offsets[user]) for part in positions)
    held_out = np.unique(events.items[query])
    liked = query
    if min_rating is not None:
        if events.ratings is None:
            raise BadInputError(
                field="min_rating", value=min_rating, remedy="Leave it out: this data set has no ratings."
            )
        liked = query[events.ratings[query] >= min_rating]
    if len(liked) == 0:
        return None
    known = Support(
        user=dataset.user_ids[user],
        items_K=events.items[support].astype(np.int32),
        ratings_K=_ratings(dataset, support),
        times_K=None if events.times_s is None else events.times_s[support].copy(),
        strengths_K=dataset.strengths_at(support),
        texts_K=dataset.texts_at(support),
        attributes=attribute_texts(dataset, user) if attributes else {},
        ordered=ordered,
    )
    return Case(k=len(support), support=known, query=np.unique(events.items[liked]), held_out=held_out)


def attribute_texts(dataset: Dataset, user: int) -> dict[str, str]:
    """Return the user's known attributes as text; columns without a value are left out."""
    if dataset.users.width == 0:
        return {}
    row = dataset.users.row(user, named=True)
    return {name: str(value) for name, value in row.items() if value is not None}


def _permutation(dataset: Dataset, user: int, seed: int) -> Positions:
    rng = derive(seed, "permutation", dataset.user_ids[user])
    return rng.permutation(_num_events(dataset, user)).astype(np.int64)


def _num_events(dataset: Dataset, user: int) -> int:
    return int(dataset.interactions.offsets[user + 1] - dataset.interactions.offsets[user])


def _ratings(dataset: Dataset, events: Positions) -> NDArray[np.float32]:
    ratings = dataset.interactions.ratings
    if ratings is None:
        return np.full(len(events), np.nan, dtype=np.float32)
    return ratings[events].copy()
