"""The cosine of the item's text vector and the mean text vector of the user's items, by a frozen encoder.

V is items, X width of text vectors, K items of one user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedding:
    """Text vectors of unit length.

    Attributes:
        text_VX: A row per item.
    """

    name: ClassVar[str] = "embedding"
    from_events: ClassVar[bool] = True

    text_VX: Floats

    __repr__ = short_repr

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self | None:
        """Keep the vectors, where item texts were read."""
        del training
        return cls(text_VX=context.text_VX) if context.text_VX.any() else None

    @property
    def num_items(self) -> int:
        """V, items added later included."""
        return len(self.text_VX)

    def score(self, users: UserBatch) -> Floats:
        """Return the cosines, (B, V)."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, items_K in enumerate(users.liked):
            if len(items_K):
                scores_BV[row] = self.text_VX @ self.text_VX[items_K].mean(axis=0)
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {"text_VX": self.text_VX}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(text_VX=arrays["text_VX"])

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the expert with the new items' vectors behind the others."""
        del texts
        return replace(self, text_VX=np.concatenate([self.text_VX, text_NX]))
