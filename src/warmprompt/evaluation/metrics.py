"""HR@10, NDCG@10 and MRR of one user, from the ranks of the query items.

Ranks start at 1; a query item that is no candidate has rank infinity, which
adds nothing to any of the three. Relevance is binary.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from warmprompt.scoring.ranking import CUT_OFF, ndcg_per_user

METRICS = ("HR@10", "NDCG@10", "MRR")

Ranks = NDArray[np.float64]


def hit_rate(ranks_Q: Ranks) -> float:
    """Return HR@10: 1 if any query item is in the top 10, else 0."""
    return float((ranks_Q <= CUT_OFF).any())


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
    if each_alone:
        alone = user_metrics(
            [ranks_Q[index : index + 1] for ranks_Q in ranks_of_users for index in range(len(ranks_Q))]
        )
        ends = np.cumsum([len(ranks_Q) for ranks_Q in ranks_of_users])[:-1]
        return np.array([rows.mean(axis=0) for rows in np.split(alone, ends)]).reshape(-1, len(METRICS))
    hits, reciprocals = map(hit_rate, ranks_of_users), map(reciprocal_rank, ranks_of_users)
    return np.column_stack([[*hits], ndcg_per_user(ranks_of_users), [*reciprocals]]).reshape(-1, len(METRICS))
