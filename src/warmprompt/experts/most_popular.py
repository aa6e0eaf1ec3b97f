"""What is chosen most, for users of whom nothing is known: no event, no sentence and no attribute.

    score(i) = log(1 + n_i)

where n_i counts training events. The learned scores rank such users by what episodes made likely, which on
some data sets is no better than counting. V is items, B users.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from warmprompt.data.dataset import Dataset, popularity
from warmprompt.experts.popularity import Popularity
from warmprompt.experts.protocol import FitContext, UserBatch
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class MostPopular(Popularity):
    """One score per item.

    Attributes:
        scores_V: Logarithms of counts.
    """

    name: ClassVar[str] = "most_popular"

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Count the training events of each item."""
        del context
        return cls(scores_V=np.log1p(popularity(training)).astype(np.float32))

    def score(self, users: UserBatch) -> Floats:
        """Return the scores, (B, V); 0 for users of whom something is known or whose events have an order."""
        unknown_B1 = np.array([[is_unknown(support)] for support in users.supports], dtype=np.float32)
        scores_BV: Floats = unknown_B1.reshape(-1, 1) * self.scores_V
        return scores_BV


def is_unknown(support: Support) -> bool:
    """Return whether nothing is known of a user, and no expert of order speaks for new users."""
    return not (len(support.items_K) or support.about or support.attributes or support.ordered)
