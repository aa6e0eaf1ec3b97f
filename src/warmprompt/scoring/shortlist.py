"""A few items per user, on which many weighted sums of the same scores are compared.

Each member's best items and the query are kept: what every member ranks low, their sum ranks low. B is users,
M members, C kept items (padded), Q query items.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmprompt.scoring.ranking import CUT_OFF, ideal_gains, parts_of, top_n
from warmprompt.types import Floats, Ints, Support, short_repr

LENGTH = 100
"""Best items kept of each member."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shortlist:
    """Members' scores of each user's kept items.

    Attributes:
        scores_BMC: Scores; 0 where padded.
        real_BC: False where padded.
        query_BQ: Where query items are kept, padded; those that are no candidates are not kept.
        asked_BQ: False where padded.
        ideal_B: The gain of the best ranking of all query items, kept or not.
    """

    scores_BMC: Floats
    real_BC: NDArray[np.bool_]
    query_BQ: NDArray[np.intp]
    asked_BQ: NDArray[np.bool_]
    ideal_B: NDArray[np.float64]

    __repr__ = short_repr

    def ndcg(self, weights_M: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each user's NDCG@10 of the weighted sum of the members' scores, (B,).

        Equal to `ranking.ndcg_per_user` of `ranking.ranks`, by counting the items that reach each query
        item's score; searches call this hundreds of times.
        """
        summed_BC = np.einsum("bmc,m->bc", self.scores_BMC, weights_M.astype(np.float32), optimize=True)
        wanted_BQ = np.where(self.asked_BQ, np.take_along_axis(summed_BC, self.query_BQ, axis=1), -np.inf)
        wanted_BQ = -np.sort(-wanted_BQ, axis=1)
        summed_BC = np.where(self.real_BC, summed_BC, -np.inf)
        gain_B = np.zeros(len(summed_BC))
        for position, wanted_B in enumerate(wanted_BQ.T, 1):
            outside_B = _reaching(summed_BC, wanted_B) - _reaching(wanted_BQ, wanted_B)
            rank_B = outside_B + position
            gain_B += ((rank_B <= CUT_OFF) & (wanted_B > -np.inf)) / np.log2(rank_B + 1.0)
        return gain_B / self.ideal_B


def _reaching(scores_BC: Floats, least_B: Floats) -> NDArray[np.intp]:
    """Return how many of each row's scores are at least so high, (B,)."""
    counts_B: NDArray[np.intp] = np.count_nonzero(scores_BC >= least_B[:, None], axis=1)
    return counts_B


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
    kept = [np.searchsorted(items, query) for items, query in zip(lists, known, strict=True)]
    sizes_B1 = np.array([len(one) for one in kept], dtype=np.intp)[:, None]
    asked_BQ = np.arange(sizes_B1.max(initial=0)) < sizes_B1
    query_BQ = np.zeros(asked_BQ.shape, dtype=np.intp)
    query_BQ[asked_BQ] = np.concatenate([np.zeros(0, np.intp), *kept])
    return Shortlist(
        scores_BMC=scores_BMC,
        real_BC=real_BC,
        query_BQ=query_BQ,
        asked_BQ=asked_BQ,
        ideal_B=ideal_gains([len(query) for query in queries]),
    )


def shortlist_of(
    score: Callable[[Sequence[Support]], Sequence[Floats]],
    supports: Sequence[Support],
    queries: Sequence[Ints],
    candidates_V: NDArray[np.bool_],
) -> Shortlist:
    """Return the shortlist of users who are scored in parts of at most `MAX_CELLS`; see `make_shortlist`."""
    parts = [
        make_shortlist(score(supports[part]), supports[part], queries[part], candidates_V)
        for part in parts_of(len(supports), len(candidates_V))
    ]
    return Shortlist(**{name: _stacked([getattr(one, name) for one in parts]) for name in vars(parts[0])})


def _stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return arrays below one another, padded on the right with 0."""
    width = max(one.shape[-1] for one in parts) if parts[0].ndim > 1 else 0
    return np.concatenate(
        [np.pad(one, [(0, 0)] * (one.ndim - 1) + [(0, width - one.shape[-1])]) for one in parts]
        if width
        else parts
    )
