"""The part of scores that is the same for everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Popularity:
    """One score per item.

    Attributes:
        scores_V: Learned from the logarithm of events; of items without events predicted from their texts.
    """

    name: ClassVar[str] = "popularity"
    from_events: ClassVar[bool] = False

    scores_V: Floats

    __repr__ = short_repr

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Take the trained model's popularity scores."""
        del training
        return cls(scores_V=context.popularity_V)

    @property
    def num_items(self) -> int:
        """V."""
        return len(self.scores_V)

    def score(self, users: UserBatch) -> Floats:
        """Return the scores once per user, (B, V), without copying them."""
        return np.broadcast_to(self.scores_V, (len(users), self.num_items))

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {"scores_V": self.scores_V}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(scores_V=arrays["scores_V"])

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: the trained model scores new items itself, and gives their scores."""
        del texts, text_NX
        return self
