"""The share of the nearest training users who have an event with the item.

Near are users who share items with the user, or have items with similar words.

Source: user-based nearest neighbours for implicit feedback (Herlocker et al. 1999), with rare items weighing
more and long histories less. U is training users, V items, K items of one user.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.experts.histories import UserItems, largest, picked
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.tfidf import TfIdf
from warmprompt.types import Floats, Ints, fields_only, short_repr

# Histories count by length^-.25 and shared items by popularity^-.5: best on validation users of MovieLens-1M.
_LENGTH_POWER = 0.25
_POPULARITY_POWER = 0.5
_NUM_SIMILAR = 30
# Users times training users that are looked at together: 8 MB.
_MAX_CELLS = 2**20


@dataclass(frozen=True, kw_only=True, eq=False)
class UserNeighbours:
    """Votes of the nearest training users, 0 to 1.

    Attributes:
        histories: Of training users.
        num_neighbours: Nearest users that vote, at least 1.
        similar: Words of item texts, by which items are similar; None counts shared items alone.
        similar_item_weight: What a similar item counts of a shared one, times their cosine.
    """

    name: ClassVar[str] = "user_neighbours"
    from_events: ClassVar[bool] = True

    histories: UserItems
    num_neighbours: int
    similar: TfIdf | None = None
    similar_item_weight: float = 0.0

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Keep the histories."""
        similar = TfIdf.fit(training, context) if context.similar_item_weight else None
        return cls(
            histories=UserItems.of(training),
            num_neighbours=context.num_neighbours,
            similar=similar,
            similar_item_weight=context.similar_item_weight if similar else 0.0,
        )

    @property
    def num_items(self) -> int:
        """V of the training data: nobody has items that were added later."""
        return self.histories.num_items

    def score(self, users: UserBatch) -> Floats:
        """Return the votes for each item, (B, V)."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for scores_V, nearness_U in zip(scores_BV, self._nearness(users.liked), strict=True):
            nearest = largest(nearness_U, self.num_neighbours)
            votes = nearness_U[nearest] / nearness_U[nearest].sum()
            items, lengths = picked(self.histories.items, self.histories.offsets_U, nearest)
            scores_V[:] = np.bincount(items, np.repeat(votes, lengths), self.num_items)
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        own = {
            "num_items": np.array(self.num_items),
            "offsets_U": self.histories.offsets_U,
            "items": self.histories.items,
            "num_neighbours": np.array(self.num_neighbours),
            "similar_item_weight": np.array(self.similar_item_weight),
        }
        similar = {} if self.similar is None else self.similar.arrays()
        return own | {f"similar.{name}": value for name, value in similar.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        similar = {
            name.removeprefix("similar."): value
            for name, value in arrays.items()
            if name.startswith("similar.")
        }
        return cls(
            histories=histories_of(arrays),
            num_neighbours=int(arrays["num_neighbours"]),
            similar=TfIdf.from_arrays(similar) if similar else None,
            similar_item_weight=float(arrays["similar_item_weight"]),
        )

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the expert for users with new items, which count through items with similar words."""
        return (
            self if self.similar is None else replace(self, similar=self.similar.with_items(texts, text_NX))
        )

    @cached_property
    def _rarity_V(self) -> Floats:
        share_V = np.maximum(self.histories.counts_V, 1) / max(1, len(self.histories.lengths_U))
        rarity_V: Floats = (share_V**-_POPULARITY_POWER).astype(np.float32)
        return rarity_V

    @cached_property
    def _damping_U(self) -> Floats:
        damping_U: Floats = (np.maximum(self.histories.lengths_U, 1) ** -_LENGTH_POWER).astype(np.float32)
        return damping_U

    def _nearness(self, liked: Sequence[Ints]) -> Iterator[NDArray[np.float64]]:
        """Yield how near each user is to every training user, (U,); sums are taken item after item."""
        (offsets_V, owners), num_users = self.histories.by_item, len(self._damping_U)
        size = max(1, _MAX_CELLS // max(1, num_users))
        for start in range(0, len(liked), size):
            shared = [self._shared(items_K) for items_K in liked[start : start + size]]
            items = np.concatenate([own for own, _ in shared])
            weights = np.concatenate([weights for _, weights in shared]) * self._rarity_V[items]
            first = np.repeat(num_users * np.arange(len(shared)), [len(own) for own, _ in shared])
            near, lengths = picked(owners, offsets_V, items)
            near = near + np.repeat(first, lengths)
            sums = np.bincount(near, np.repeat(weights, lengths), len(shared) * num_users)
            yield from sums.reshape(len(shared), num_users) * self._damping_U

    def _shared(self, items_K: Ints) -> tuple[Ints, Floats]:
        """Return items, and how much of each the user shares with a training user who has it."""
        known_K = items_K[items_K < self.num_items]
        if self.similar is None:
            return known_K, np.ones(len(known_K), dtype=np.float32)
        shared_V = np.zeros(self.num_items, dtype=np.float32)
        shared_V[known_K] = 1
        for item in items_K:
            near_V = self.similar.cosines(item)[: self.num_items]
            near_V[item : item + 1] = 0
            similar = largest(near_V, _NUM_SIMILAR)
            shared_V[similar] += np.float32(self.similar_item_weight) * near_V[similar]
        shared = np.flatnonzero(shared_V).astype(np.int32)
        return shared, shared_V[shared]


def histories_of(arrays: Mapping[str, Any]) -> UserItems:
    """Return the histories among an expert's arrays."""
    return UserItems(num_items=int(arrays["num_items"]), offsets_U=arrays["offsets_U"], items=arrays["items"])
