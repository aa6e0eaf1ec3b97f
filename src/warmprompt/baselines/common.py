"""What the baselines share: supports as matrices, and popularity where a score is empty.

B is users in a batch, K support events (padded), V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset, popularity
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, Support

T = TypeVar("T")

# Float32 resolves 6e-8: enough to order ties, too little to reorder what differs.
_TIE_SHARE = 1e-6


def support_matrix(
    supports: Sequence[Support], num_items: int, *, weighted: bool = False, decay: float = 1.0
) -> csr_matrix:
    """Return which items each user has an event with, (B, V) float32 of zeros and ones, sorted by item.

    With `weighted`, an event's strength replaces the 1 where it has one; of several events with an
    item the last one's. With a `decay` below 1, it is decay^age in place of 1, the newest event of age 0.
    """
    if decay != 1.0:
        return _decayed_matrix(supports, num_items, decay)
    supports = [distinct(support) for support in supports] if weighted else supports
    lengths = [len(support.items_K) for support in supports]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    items = [np.asarray(support.items_K, dtype=np.int32) for support in supports]
    columns = np.concatenate([*items, np.zeros(0, dtype=np.int32)])
    values = np.ones(len(columns), dtype=np.float32)
    if weighted:
        strengths = [
            np.ones(len(support.items_K), np.float32) if support.strengths_K is None else support.strengths_K
            for support in supports
        ]
        values = np.concatenate([*strengths, values[:0]])
    matrix = csr_matrix((values, columns, offsets), shape=(len(supports), num_items))
    matrix.sum_duplicates()
    if not weighted:
        matrix.data[:] = 1.0  # however often an item comes
    return matrix


def _decayed_matrix(supports: Sequence[Support], num_items: int, decay: float) -> csr_matrix:
    kept = [distinct(support, ordered=True).items_K for support in supports]
    offsets = np.concatenate([[0], np.cumsum([len(items_K) for items_K in kept])]).astype(np.int32)
    ages = np.concatenate([*(np.arange(len(items_K) - 1, -1, -1) for items_K in kept), np.zeros(0)])
    columns = np.concatenate([*kept, np.zeros(0, np.int32)]).astype(np.int32)
    matrix = csr_matrix(
        ((decay**ages).astype(np.float32), columns, offsets), shape=(len(supports), num_items)
    )
    matrix.sort_indices()
    return matrix


def check_decay(decay: float) -> None:
    """Raise `BadInputError` for a decay that is not above 0 and at most 1."""
    if not 0 < decay <= 1:
        raise BadInputError(field="decay", value=decay, remedy="Give a number above 0, at most 1.")


def popularity_share(dataset: Dataset) -> Floats:
    """Return each item's events over those of the most popular item, (V,), between 0 and 1."""
    counts = popularity(dataset)
    return (counts / max(1, int(counts.max(initial=0)))).astype(np.float32)


def break_ties(scores_BV: NDArray[np.float32], share_V: Floats) -> Floats:
    """Return the scores plus a millionth of their largest magnitude times the popularity share.

    Orders equal scores by popularity; a row of zeros (no history, or only items never seen in
    training) becomes popularity itself.
    """
    largest_B1 = np.abs(scores_BV).max(axis=1, keepdims=True, initial=0.0)
    scale_B1 = np.where(largest_B1 > 0, largest_B1 * _TIE_SHARE, 1.0)
    return (scores_BV + scale_B1 * share_V).astype(np.float32)


def popular_where(empty_B: NDArray[np.bool_], scores_BV: Floats, share_V: Floats) -> Floats:
    """Return the scores with popularity in the rows where `empty_B` is true."""
    return np.where(empty_B[:, None], share_V[None, :], scores_BV).astype(np.float32)


def is_empty(supports: Sequence[Support]) -> NDArray[np.bool_]:
    """Tell which supports hold no event, (B,)."""
    return np.array([len(support.items_K) == 0 for support in supports], dtype=np.bool_)


def distinct(support: Support, *, ordered: bool = False) -> Support:
    """Return the support with one event per item, the last one.

    Args:
        support: Never written to.
        ordered: Keep the order of the events kept, for models of sequences; otherwise sort by item, so
            that models of sets add in the same order whatever their order.
    """
    items_K = np.asarray(support.items_K)
    _, from_end = np.unique(items_K[::-1], return_index=True)
    kept = len(items_K) - 1 - from_end
    kept = np.sort(kept) if ordered else kept
    times_K = None if support.times_K is None else support.times_K[kept]
    strengths_K = None if support.strengths_K is None else support.strengths_K[kept]
    return replace(
        support,
        items_K=items_K[kept],
        ratings_K=support.ratings_K[kept],
        times_K=times_K,
        strengths_K=strengths_K,
    )


def check_positive(**values: float) -> None:
    """Raise `BadInputError` for the first setting that is not above 0, named by its keyword."""
    for name, value in values.items():
        if not value > 0:
            raise BadInputError(field=name, value=value, remedy="Give a number above 0.")


def fitted(part: T | None, name: str) -> T:
    """Return a part that `fit` fills in; raise where the baseline is asked for scores before `fit`."""
    if part is None:
        raise BadInputError(
            field="ranker", value=name, remedy="Call fit first and use the ranker it returns."
        )
    return part
