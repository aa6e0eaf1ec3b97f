"""Training users' events in their order, and the newest events of users to be scored.

A user to be scored has K events and is at position K: position 0 is a user's first event. E is events of
training users, B users to be scored, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset
from warmprompt.types import Floats, Ints, Support, fields_only, short_repr

FIRST = 100
"""Events of a training user that are read: what people begin with differs from what they come to later."""
NEWEST = 30
"""Events of a scored user that are read."""

_AT_HORIZON = 0.9**10
"""What an event counts as far ahead as the horizon; found for ten events, on validation users."""
_WINDOW = 10

Positions = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sequences:
    """The first events of each training user, oldest first.

    Attributes:
        num_items: V.
        offsets_U: Where each user's events begin, (U + 1,).
        items_E: Their items.
        weights_E: How much each event counts; 1 without times or half-life.
    """

    num_items: int
    offsets_U: Positions
    items_E: Ints
    weights_E: Floats

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def of(cls, training: Dataset, *, half_life_s: float | None = None) -> Sequences:
        """Return the first `FIRST` events of all users of a data set.

        Args:
            training: Events in order per user.
            half_life_s: Age, before the newest event of all, at which an event counts half; None counts all
                alike, as do data without times.
        """
        events = training.interactions
        lengths = np.diff(events.offsets)
        position_E = np.arange(len(events)) - np.repeat(events.offsets[:-1], lengths)
        weights_E = np.ones(len(events), dtype=np.float32)
        if half_life_s is not None and events.times_s is not None and len(events):
            age_E = events.times_s.max() - events.times_s
            weights_E = np.exp2(-age_E / half_life_s).astype(np.float32)
        kept_E = position_E < FIRST
        return cls(
            num_items=training.num_items,
            offsets_U=np.concatenate([[0], np.cumsum(np.minimum(lengths, FIRST))]).astype(np.int64),
            items_E=events.items[kept_E],
            weights_E=weights_E[kept_E],
        )

    @cached_property
    def users_E(self) -> Ints:
        """The user of each event."""
        return np.repeat(np.arange(len(self.offsets_U) - 1, dtype=np.int32), np.diff(self.offsets_U))

    @cached_property
    def positions_E(self) -> Positions:
        """The position of each event."""
        return np.arange(len(self.items_E)) - self.offsets_U[self.users_E]

    @cached_property
    def shares_V(self) -> Floats:
        """Each item's share of the events."""
        counts_V = np.bincount(self.items_E, self.weights_E, self.num_items)
        shares_V: Floats = (counts_V / max(1e-30, counts_V.sum())).astype(np.float32)
        return shares_V

    def steps(self, distance: int) -> tuple[Positions, Positions]:
        """Return the events that have another of the same user so far ahead, and these others, as indexes."""
        same = self.users_E[distance:] == self.users_E[:-distance]
        before = np.flatnonzero(same)
        return before, before + distance


def ahead_weights(horizon: int, ahead: float | None = None) -> Floats:
    """Return what the next event counts, 1, and each after it: ten events or the horizon, if that is more.

    Args:
        horizon: How many next events are meant, 1 or more.
        ahead: What an event counts of the one before it, above 0, at most 1. None lets weights fall to a
            third over the horizon: by .35 an event for a horizon of 1, by .9 for one of 10.
    """
    ratio = _AT_HORIZON ** (1 / horizon) if ahead is None else ahead
    weights: Floats = ratio ** np.arange(min(max(_WINDOW, horizon), FIRST))
    return weights


def sum_of_newest(supports: Sequence[Support], matrix_VV: csr_matrix, *, decay: float) -> Floats:
    """Return the sum of the matrix's rows of what each ordered user did lately, times decay^age, (B, V).

    Rows of users whose events have no order are 0. Sums are taken in double precision, event after event.

    Args:
        supports: Users; items added later are passed over.
        matrix_VV: By row the item of an event.
        decay: Above 0, at most 1; the newest event is of age 0.
    """
    num_items = matrix_VV.shape[0]
    offsets_V, items, values = matrix_VV.indptr, matrix_VV.indices, matrix_VV.data
    sums_BV = np.zeros((len(supports), num_items), dtype=np.float32)
    for sums_V, support in zip(sums_BV, supports, strict=True):
        items_K, ages_K = newest(support, num_items)
        if len(items_K):
            rows = [slice(offsets_V[item], offsets_V[item + 1]) for item in items_K]
            weights = np.repeat(decay**ages_K, [row.stop - row.start for row in rows])
            reached = np.concatenate([items[row] for row in rows])
            weighted = weights * np.concatenate([values[row] for row in rows])
            sums_V[:] = np.bincount(reached, weighted, num_items)
    return sums_BV


def newest(support: Support, num_items: int) -> tuple[Ints, Positions]:
    """Return the items of a user's newest events and their ages, oldest first; none without an order."""
    items_K = np.asarray(support.items_K[-NEWEST:] if support.ordered else (), dtype=np.int32)
    ages_K = np.arange(len(items_K) - 1, -1, -1)
    known_K = items_K < num_items
    return items_K[known_K], ages_K[known_K]
