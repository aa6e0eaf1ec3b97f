"""A few items per user, on which many weighted sums of the same scores are compared.

Each member's best items and the query are kept: what every member ranks low, their sum ranks low. B is users,
M members, C kept items (padded), Q query items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.scoring.ranking import MISS, ndcg_per_user, ranks, top_n
from warmprompt.types import Floats, Ints, Support, short_repr

LENGTH = 100
"""Best items kept of each member."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shortlist:
    """Members' scores of each user's kept items.

    Attributes:
        scores_BMC: Scores; 0 where padded.
        real_BC: False where padded.
        query_positions: Where each user's query items are kept; those that are no candidates are not.
        query_sizes: Q of each user, all query items.
    """

    scores_BMC: Floats
    real_BC: NDArray[np.bool_]
    query_positions: Sequence[Ints]
    query_sizes: Sequence[int]

    __repr__ = short_repr

    def ndcg(self, weights_M: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each user's NDCG@10 of the weighted sum of the members' scores, (B,)."""
        summed_BC = np.einsum("bmc,m->bc", self.scores_BMC, weights_M.astype(np.float32), optimize=True)
        found = ranks(summed_BC, self.query_positions, candidates=self.real_BC)
        missed = [size - len(kept) for size, kept in zip(self.query_sizes, self.query_positions, strict=True)]
        return ndcg_per_user(
            [np.append(one, np.full(number, MISS)) for one, number in zip(found, missed, strict=True)]
        )


def make_shortlist(
    members: Sequence[Floats],
    supports: Sequence[Support],
    queries: Sequence[Ints],
    candidates_V: NDArray[np.bool_],
) -> Shortlist:
    """Return the shortlist of all members' scores.

    Args:
        members: Scores of all items, (B, V) each.
        supports: The users; their items are no candidates.
        queries: Items to be found, distinct.
        candidates_V: Items that may be ranked.
    """
    excluded = [support.items_K for support in supports]
    best = [top_n(one, LENGTH, excluded=excluded, candidates=candidates_V) for one in members]
    known = [query[candidates_V[query]] for query in queries]
    lists = [
        np.unique(np.concatenate([*(one[row][one[row] >= 0] for one in best), known[row]]))
        for row in range(len(supports))
    ]
    width = max(map(len, lists), default=0)
    scores_BMC = np.zeros((len(supports), len(members), width), dtype=np.float32)
    real_BC = np.zeros((len(supports), width), dtype=np.bool_)
    for row, items in enumerate(lists):
        real_BC[row, : len(items)] = True
        for member, one in enumerate(members):
            scores_BMC[row, member, : len(items)] = one[row, items]
    return Shortlist(
        scores_BMC=scores_BMC,
        real_BC=real_BC,
        query_positions=[
            np.searchsorted(items, query).astype(np.int32) for items, query in zip(lists, known, strict=True)
        ],
        query_sizes=[len(query) for query in queries],
    )
