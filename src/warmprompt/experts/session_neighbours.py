"""What the nearest training users did next, nearest by what they did up to the user's position.

    nearness(u) = sum over shared items of share(i)^-1/2 d^age(i) d^max(0, K - 1 - t_u(i))

where t_u(i) is the position at which training user u had the item and K that of the scored user; only
positions below K + 5 count. The nearest vote for what they did at positions K - 3 to K + 19.

Source: session-based nearest neighbours (Jannach & Ludewig 2017; Ludewig & Jannach 2018), for whole
histories. U is training users, V items, K events of one user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.experts.histories import largest
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.sequences import Positions, Sequences, newest
from warmprompt.types import Floats, Support, fields_only, short_repr

_SLACK = 5
_BEHIND, _AHEAD = 3, 20


@dataclass(frozen=True, kw_only=True, eq=False)
class SessionNeighbours:
    """Votes of the nearest training users, in percent.

    Attributes:
        events: Of training users.
        num_neighbours: Nearest users that vote, at least 1.
        decay: What an event counts of the one after it, above 0, at most 1.
    """

    name: ClassVar[str] = "session_neighbours"
    from_events: ClassVar[bool] = False

    events: Sequences
    num_neighbours: int
    decay: float

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(
        cls, training: Dataset, context: FitContext, *, num_neighbours: int = 100, decay: float = 0.85
    ) -> Self | None:
        """Keep the first events of training users.

        Args:
            training: Training users.
            context: Its half-life makes recent events count more.
            num_neighbours: Nearest users that vote.
            decay: Of events, by position.
        """
        events = Sequences.of(training, half_life_s=context.half_life_s)
        return cls(events=events, num_neighbours=num_neighbours, decay=decay) if len(events.items_E) else None

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return self.events.num_items

    def score(self, users: UserBatch) -> Floats:
        """Return the percentage of votes of each item, (B, V); 0 where events have no order."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, support in enumerate(users.supports):
            self._vote(support, scores_BV[row])
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {
            "num_items": np.array(self.num_items),
            "offsets_U": self.events.offsets_U,
            "items_E": self.events.items_E,
            "weights_E": self.events.weights_E,
            "num_neighbours": np.array(self.num_neighbours),
            "decay": np.array(self.decay),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        events = Sequences(
            num_items=int(arrays["num_items"]),
            offsets_U=arrays["offsets_U"],
            items_E=arrays["items_E"],
            weights_E=arrays["weights_E"],
        )
        return cls(events=events, num_neighbours=int(arrays["num_neighbours"]), decay=float(arrays["decay"]))

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: nobody has new items."""
        del texts, text_NX
        return self

    @cached_property
    def _by_item(self) -> tuple[Positions, Positions]:
        """Where each item's events begin, (V + 1,), and the events, earliest positions first."""
        events = self.events
        order = np.lexsort((events.positions_E, events.items_E))
        counts_V = np.bincount(events.items_E, minlength=self.num_items)
        return np.concatenate([[0], np.cumsum(counts_V)]), order

    @cached_property
    def _rarity_V(self) -> Floats:
        counts_V = np.bincount(self.events.items_E, minlength=self.num_items)
        share_V = np.maximum(counts_V, 1) / max(1, len(self.events.offsets_U) - 1)
        rarity_V: Floats = (share_V**-0.5).astype(np.float32)
        return rarity_V

    def _vote(self, support: Support, out_V: Floats) -> None:
        """Write one user's votes; sums are taken in double precision, event after event."""
        items_K, ages_K = newest(support, self.num_items)
        if not len(items_K):
            return
        position, events = len(support.items_K), self.events
        offsets_V, by_item = self._by_item
        shared = [by_item[offsets_V[item] : offsets_V[item + 1]] for item in items_K]
        weights_K = self._rarity_V[items_K] * self.decay**ages_K
        owned = np.concatenate(shared)
        weights = np.repeat(weights_K, [len(one) for one in shared])
        positions = events.positions_E[owned]
        early = positions < position + _SLACK
        owned, positions, weights = owned[early], positions[early], weights[early]
        weights = weights * self.decay ** np.maximum(0, position - 1 - positions) * events.weights_E[owned]
        nearness_U: NDArray[np.float64] = np.bincount(
            events.users_E[owned], weights, len(events.offsets_U) - 1
        ).astype(np.float64)
        nearest = largest(nearness_U, self.num_neighbours)
        chosen, lengths = self._window(nearest, position)
        if len(chosen):
            votes = np.repeat(nearness_U[nearest], lengths)
            out_V[:] = np.bincount(events.items_E[chosen], 100 * votes / votes.sum(), self.num_items)

    def _window(self, users: NDArray[np.int64], position: int) -> tuple[Positions, Positions]:
        """Return the events of some users around a position, user after user, and how many each has."""
        offsets_U = self.events.offsets_U
        first = np.minimum(offsets_U[users] + max(0, position - _BEHIND), offsets_U[users + 1])
        last = np.minimum(offsets_U[users] + position + _AHEAD, offsets_U[users + 1])
        lengths = last - first
        starts = np.cumsum(lengths) - lengths
        return np.repeat(first - starts, lengths) + np.arange(lengths.sum()), lengths
