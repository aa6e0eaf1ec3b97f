"""What people choose who write alike: ridge regression from the text of an event to its user's items.

    score(i) = q . w_i,    W = c (X^T X + l I)^-1 X^T Y,    l = RIDGE * mean of the diagonal of X^T X

X are the text vectors of training events less their mean, and Y the items of each event's user as 0 and 1. q
is the mean vector of what the user wrote with liked events, less the same mean. So a score says how much more
often those who write so have the item; c gives the scores of training events a mean square of SCALE^2.
Without any text all scores are 0.

V is items, X width of text vectors, E events with a text, U training users.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, short_repr

RIDGE = 10.0
"""Found on validation users of Musical Instruments, where NDCG@10 is flat from 3 to 50."""
SCALE = 0.1
"""Learned scores differ by about 1, and weights are searched from 1 on."""
_LEAST_SPREAD = 1e-6
"""Mean square below which text vectors, or what texts tell of items, differ by rounding alone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UserText:
    """A linear map from text vectors to items.

    Attributes:
        mean_X: Mean text vector of training events.
        map_VX: A row per item; zeros for items that were added later.

    Source: Hoerl & Kennard 1970, with the ridge relative to the data's own scale.
    """

    name: ClassVar[str] = "user_text"
    from_events: ClassVar[bool] = True

    mean_X: Floats
    map_VX: Floats

    __repr__ = short_repr

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self | None:
        """Learn from what training users wrote; None where that tells nothing, or nothing reads it."""
        texts = training.interactions.texts
        if texts is None or context.encode is None:
            return None
        written = texts.is_not_null().to_numpy()
        if not written.any():
            return None
        vectors_EX = context.encode(texts.filter(written).to_list())
        mean_X = vectors_EX.mean(axis=0)
        centred_EX = vectors_EX - mean_X
        owners_E = np.repeat(np.arange(training.num_users), np.diff(training.interactions.offsets))[written]
        sums_UX = np.zeros((training.num_users, len(mean_X)))
        np.add.at(sums_UX, owners_E, centred_EX)
        # X^T Y without making Y: users' items times the sum of what each user wrote.
        products_VX = user_item_matrix(training).T @ sums_UX
        gram_XX = (centred_EX.T @ centred_EX).astype(np.float64)
        if gram_XX.trace() < _LEAST_SPREAD * len(owners_E):
            return None
        ridge = RIDGE * gram_XX.trace() / len(mean_X)
        map_VX = np.linalg.solve(gram_XX + ridge * np.eye(len(mean_X)), products_VX.T).T
        mean_square = (map_VX @ gram_XX * map_VX).sum() / (len(owners_E) * len(map_VX))
        if mean_square < _LEAST_SPREAD**2:
            return None
        return cls(mean_X=mean_X, map_VX=(SCALE / np.sqrt(mean_square) * map_VX).astype(np.float32))

    @property
    def num_items(self) -> int:
        """V, items added later included."""
        return len(self.map_VX)

    def score(self, users: UserBatch) -> Floats:
        """Return the scores, (B, V)."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        texts = tuple(dict.fromkeys(text for written in users.written for text in written))
        if not texts or users.encode is None:
            return scores_BV
        vector_of = dict(zip(texts, users.encode(texts), strict=True))
        for row, written in enumerate(users.written):
            if written:
                own_X = np.mean([vector_of[text] for text in written], axis=0)
                scores_BV[row] = self.map_VX @ (own_X - self.mean_X)
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {"mean_X": self.mean_X, "map_VX": self.map_VX}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(mean_X=arrays["mean_X"], map_VX=arrays["map_VX"])

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the expert with new items, which nobody has chosen, behind the others."""
        del text_NX
        nothing_NX = np.zeros((len(texts), self.map_VX.shape[1]), dtype=np.float32)
        return replace(self, map_VX=np.concatenate([self.map_VX, nothing_NX]))
