"""A first-order Markov chain: what training users did right after the newest item.

B is users in a batch, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix

from warmprompt.baselines.common import check_positive, fitted, is_empty, popular_where, popularity_share
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkovChain:
    """Score an item by its smoothed probability of following the newest item of the support.

    p(j | i) = (c_ij + smoothing * p_j) / (c_i + smoothing), where c_ij counts how often training users
    went from i to j, c_i is its sum over j, and p_j is the share of training events with j. With a
    window above 1, j also counts when it lies d <= window places after i, as 1 / d of a step.

    Events are read in the order given: a support's items come oldest first.

    Args:
        smoothing: Steps of the overall distribution added to each item's own, > 0.
        window: Places ahead that count, at least 1; 1 is the plain chain.

    Source: Rendle, Freudenthaler & Schmidt-Thieme 2010, section 4.1, for one item at a time.
    """

    name: ClassVar[str] = "markov"
    num_parameters: ClassVar[int] = 0

    smoothing: float = 30.0
    window: int = 1
    steps_VV: csr_matrix | None = None
    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> MarkovChain:
        """Count steps; `validation` and `seed` are not needed."""
        del validation, seed
        check_positive(smoothing=self.smoothing)
        if self.window < 1:
            raise BadInputError(field="window", value=self.window, remedy="Give at least 1.")
        events = training.interactions
        user_E = np.repeat(np.arange(training.num_users), np.diff(events.offsets))
        shape = (training.num_items, training.num_items)
        steps_VV = csr_matrix(shape, dtype=np.float64)
        for distance in range(1, self.window + 1):
            same = user_E[distance:] == user_E[:-distance]
            before, after = events.items[:-distance][same], events.items[distance:][same]
            weight = np.full(len(before), 1.0 / distance)
            steps_VV = steps_VV + coo_matrix((weight, (before, after)), shape=shape).tocsr()
        counts_V = popularity(training)
        share_V = popularity_share(training) / max(1e-12, float(counts_V.sum() / max(1, counts_V.max())))
        return replace(self, steps_VV=steps_VV.tocsr(), share_V=share_V.astype(np.float32))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return p(item | newest item), (B, V); popularity where there is no history."""
        share_V, steps_VV = fitted(self.share_V, self.name), fitted(self.steps_VV, self.name)
        newest = np.array([support.items_K[-1] if len(support.items_K) else 0 for support in supports], int)
        steps_BV = steps_VV[newest].toarray().reshape(len(supports), len(share_V))
        total_B1 = steps_BV.sum(axis=1, keepdims=True)
        scores_BV = (steps_BV + self.smoothing * share_V) / (total_B1 + self.smoothing)
        return popular_where(is_empty(supports), scores_BV.astype(np.float32), share_V)
