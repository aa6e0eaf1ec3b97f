"""HR@10, NDCG@10 and MRR of one user, from the ranks of the query items.

Ranks start at 1; a query item that is no candidate has rank infinity, which
adds nothing to any of the three. Relevance is binary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

CUT_OFF = 10
METRICS = ("HR@10", "NDCG@10", "MRR")

Ranks = NDArray[np.float64]


def hit_rate(ranks_Q: Ranks) -> float:
    """Return HR@10: 1 if any query item is in the top 10, else 0."""
    return float((ranks_Q <= CUT_OFF).any())


def ndcg(ranks_Q: Ranks) -> float:
    """Return NDCG@10: gain 1 / log2(rank + 1), over that of the best ranking of min(10, |query|) items.

    Source: Jarvelin & Kekalainen 2002, with binary gain. Query items outside the catalogue count
    in |query|, so they cost.
    """
    best = (1.0 / np.log2(np.arange(2, min(CUT_OFF, len(ranks_Q)) + 2))).sum()
    found = ranks_Q[ranks_Q <= CUT_OFF]
    return float((1.0 / np.log2(found + 1.0)).sum() / best)


def reciprocal_rank(ranks_Q: Ranks) -> float:
    """Return the reciprocal rank of the best query item, without cut-off; 0 where none is a candidate."""
    return float(1.0 / ranks_Q.min())


def user_metrics(ranks_of_users: Sequence[Ranks], *, each_alone: bool = False) -> NDArray[np.float64]:
    """Return the metrics of each user, (B, 3), columns in the order of `METRICS`.

    Args:
        ranks_of_users: Per user, at least one rank.
        each_alone: Take each query item as a query of its own and average over the user's items
            (`sampled100`, where positives do not compete).
    """
    rows = np.empty((len(ranks_of_users), len(METRICS)))
    for row, ranks_Q in zip(rows, ranks_of_users, strict=True):
        parts = [ranks_Q[place : place + 1] for place in range(len(ranks_Q))] if each_alone else [ranks_Q]
        row[:] = np.mean([(hit_rate(part), ndcg(part), reciprocal_rank(part)) for part in parts], axis=0)
    return rows
