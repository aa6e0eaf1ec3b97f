"""From scores to rankings: the best n candidates, and the rank of given items.

NumPy alone, so that evaluation and baselines can rank without a model.
B is users, V items, n places.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.types import Floats, Ints

Mask = NDArray[np.bool_]
MISS = np.inf
CUT_OFF = 10
"""The rank of an item that is no candidate: its reciprocal is 0 and it is in no top n."""
MAX_CELLS = 1 << 26
"""Scores in memory at once where many users are judged: 256 MB."""


def parts_of(num_users: int, num_items: int) -> list[slice]:
    """Return slices of users whose scores of all items fit `MAX_CELLS`; one, perhaps empty, at least."""
    size = max(1, MAX_CELLS // max(1, num_items))
    return [slice(first, first + size) for first in range(0, max(1, num_users), size)]


def top_n(
    scores_BV: Floats, n: int, *, excluded: Sequence[Ints] | None = None, candidates: Mask | None = None
) -> Ints:
    """Return each user's n best candidates, best first, (B, n) item indexes.

    Equal scores are ordered by item index, lowest first, so a ranking never depends on a sort's
    inner order. Where a user has fewer than n candidates the row ends in -1.

    Args:
        scores_BV: Finite scores; higher ranks first. Never written to.
        n: Items, at least 1.
        excluded: Per user, items to leave out (usually the support); may repeat items.
        candidates: Items that may be ranked, (V,) for all users or (B, V); None allows every item.

    Raises:
        NotFiniteError: A score is NaN or infinite; names the rows.
        BadInputError: `n` below 1, or shapes that do not fit.
    """
    if n < 1:
        raise BadInputError(field="n", value=n, remedy="Ask for at least 1 item.")
    masked_BV = _masked(scores_BV, excluded, candidates)
    width = min(n, masked_BV.shape[1])
    best = np.full((len(masked_BV), n), -1, dtype=np.int32)
    if width == 0:
        return best
    last_B = np.partition(masked_BV, -width, axis=1)[:, -width]
    # What is no candidate has -inf, below every finite score.
    last_B = np.maximum(last_B, np.finfo(masked_BV.dtype).min)
    for row, (scores_V, last) in enumerate(zip(masked_BV, last_B, strict=True)):
        reaching = np.flatnonzero(scores_V >= last)
        order = np.argsort(-scores_V[reaching], kind="stable")[:width]
        best[row, : len(order)] = reaching[order]
    return best


def ranks(
    scores_BV: Floats,
    queries: Sequence[Ints],
    *,
    excluded: Sequence[Ints] | None = None,
    candidates: Mask | None = None,
) -> list[NDArray[np.float64]]:
    """Return the rank of each query item among its user's candidates, ties counted against the model.

    Among equal scores the candidates outside the query come first, then the query's items in the order
    given: the worst ordering that exists, so no two items share a rank. An item that is no candidate gets
    `MISS` (infinity). Costs one sort of each user's scores.

    Args:
        scores_BV: Finite scores; higher ranks first. Never written to.
        queries: Per user, distinct item indexes; may be empty.
        excluded: Per user, items that are no candidates (usually the support).
        candidates: Items that may be ranked, (V,) for all users or (B, V); None allows every item.

    Returns:
        Per user, one rank per query item, in the query's order.

    Raises:
        NotFiniteError: A score is NaN or infinite; names the rows.
        BadInputError: Shapes that do not fit.
    """
    masked_BV = _masked(scores_BV, excluded, candidates)
    if len(queries) != len(masked_BV):
        raise BadInputError(
            field="queries", value=len(queries), remedy=f"Give one per user, {len(masked_BV)}."
        )
    wanted = [masked_V[query] for masked_V, query in zip(masked_BV, queries, strict=True)]
    masked_BV.sort(axis=1)
    return [_ranks_of(wanted_Q, sorted_V) for wanted_Q, sorted_V in zip(wanted, masked_BV, strict=True)]


def ranks_against(
    scores_BV: Floats, queries: Sequence[Ints], others: Sequence[Ints]
) -> list[NDArray[np.float64]]:
    """Return the rank of each query item alone against its user's list of other items.

    The rank is 1 + the number of `others` with a score greater or equal; query items do not
    compete with one another. For the sampled metrics of other papers.

    Raises:
        NotFiniteError: A score is NaN or infinite; names the rows.
    """
    check_finite(scores_BV)
    return [
        1.0 + np.count_nonzero(scores_V[other][None, :] >= scores_V[query][:, None], axis=1)
        for scores_V, query, other in zip(scores_BV, queries, others, strict=True)
    ]


def ndcg_per_user(ranks_of_users: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return each user's NDCG@10 from the ranks of the query items, of which every user has one or more.

    Gain 1 / log2(rank + 1), over that of the best ranking of min(10, |query|) items. Query items outside the
    catalogue count in |query|, so they cost.

    Source: Jarvelin & Kekalainen 2002, with binary gain.
    """
    gains = [float((1.0 / np.log2(found[found <= CUT_OFF] + 1.0)).sum()) for found in ranks_of_users]
    return np.divide(gains, ideal_gains([len(found) for found in ranks_of_users]), dtype=np.float64)


def ideal_gains(query_sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return the gain of the best ranking of min(10, size) items for each size of query, 1 or more."""
    best = np.cumsum(1.0 / np.log2(np.arange(2, CUT_OFF + 2)))
    ideal: NDArray[np.float64] = best[np.minimum(CUT_OFF, np.asarray(query_sizes, dtype=np.intp)) - 1]
    return ideal


def check_finite(scores_BV: Floats, *, field: str = "scores") -> None:
    """Raise `NotFiniteError` naming the rows that hold a NaN or infinite score."""
    # A sum is finite unless a part is not (or it overflows), and needs no (B, V) array of booleans.
    with np.errstate(over="ignore", invalid="ignore"):
        suspicious = not np.isfinite(scores_BV.sum(dtype=np.float64))
    if not suspicious:
        return
    rows = np.flatnonzero(~np.isfinite(scores_BV).all(axis=1))
    if len(rows):
        shown = ", ".join(str(row) for row in rows[:5]) + (" ..." if len(rows) > 5 else "")
        raise NotFiniteError(
            field=field, value=f"rows {shown}", remedy="Look for a diverged weight or a NaN input."
        )


def _ranks_of(wanted_Q: Floats, sorted_V: Floats) -> NDArray[np.float64]:
    """Return one user's ranks from the query's scores and all candidates' scores, lowest first."""
    order = np.argsort(-wanted_Q, kind="stable")
    best_first_Q = wanted_Q[order]
    # How many of all candidates, and of the query alone, reach each score: the rest is outside the query.
    reaching_Q = len(sorted_V) - np.searchsorted(sorted_V, best_first_Q, side="left")
    in_query_Q = np.searchsorted(-best_first_Q, -best_first_Q, side="right")
    position_Q = np.arange(1, len(order) + 1)
    ranks_Q = np.empty(len(order))
    ranks_Q[order] = np.where(best_first_Q > -np.inf, reaching_Q - in_query_Q + position_Q, MISS)
    return ranks_Q


def _masked(scores_BV: Floats, excluded: Sequence[Ints] | None, candidates: Mask | None) -> Floats:
    """Return a copy of the scores in which every item that is no candidate has -inf."""
    scores_BV = np.asarray(scores_BV)
    if scores_BV.ndim != 2:
        raise BadInputError(field="scores", value=scores_BV.shape, remedy="Give a matrix (users, items).")
    check_finite(scores_BV)
    if candidates is None:
        masked_BV = scores_BV.copy()
    elif candidates.shape in (scores_BV.shape, scores_BV.shape[1:]):
        masked_BV = np.where(candidates, scores_BV, np.asarray(-np.inf, dtype=scores_BV.dtype))
    else:
        raise BadInputError(
            field="candidates", value=candidates.shape, remedy="Give a mask (items) or (users, items)."
        )
    if excluded is not None:
        if len(excluded) != len(scores_BV):
            raise BadInputError(
                field="excluded", value=len(excluded), remedy=f"Give one per user, {len(scores_BV)}."
            )
        rows = np.repeat(np.arange(len(excluded)), [len(items) for items in excluded])
        if len(rows):
            masked_BV[rows, np.concatenate(list(excluded))] = -np.inf
    return masked_BV
