"""A linear map from what users did lately to what they do next, in closed form.

Each position of each training user is an example: x holds decay^age for the events before it, y the events
that come next, less what everybody does at that position. B minimises |Y - X B|^2 + l2 |B|^2:

    B = (X'X + l2 I)^-1 X'(Y - P),   score = x B

Only inner products are kept of the examples. Each row of B keeps its entries of largest magnitude.

Source: ridge regression of next items on sessions, as SLIT (Choi et al. 2021, arXiv 2103.16104) does with
windows; the positional mean and the decayed history are ours. W is items that take part, V items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.sequences import NEWEST, Sequences, ahead_weights, sum_of_newest
from warmprompt.experts.transitions import matrix_arrays, matrix_of
from warmprompt.types import Floats, fields_only, short_repr

MAX_ITEMS = 10_000
"""Items that take part, the most popular ones: 800 MB and W^3 while it is solved."""
_NUM_KEPT = 200
_EXAMPLES = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class OrderedRidge:
    """The map, in percent.

    Attributes:
        map_VV: By row the item of an event.
        decay: What an event counts of the one after it, above 0, at most 1.
    """

    name: ClassVar[str] = "ordered_ridge"
    from_events: ClassVar[bool] = False

    map_VV: csr_matrix
    decay: float

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(
        cls,
        training: Dataset,
        context: FitContext,
        *,
        l2: float = 200.0,
        ahead: float | None = None,
        decay: float = 0.8,
    ) -> Self | None:
        """Solve for the map.

        Args:
            training: Training users.
            context: Its half-life makes recent events count more, its horizon those soon after.
            l2: Penalty, above 0.
            ahead: As in `ahead_weights`.
            decay: Of events before.
        """
        events = Sequences.of(training, half_life_s=context.half_life_s)
        if not len(events.steps(1)[0]):
            return None
        counts_V = np.bincount(events.items_E, minlength=training.num_items)
        known_W = np.sort(np.argsort(-counts_V, kind="stable")[: min(MAX_ITEMS, np.count_nonzero(counts_V))])
        if len(known_W) < np.count_nonzero(counts_V):
            context.progress(
                f"{cls.name} maps the {MAX_ITEMS:,} most popular of {np.count_nonzero(counts_V):,} items"
            )
        weights_J = ahead_weights(context.horizon, ahead)
        gram_WW, cross_WW = _products(events, known_W, weights_J / weights_J.sum(), decay=decay)
        gram_WW[np.diag_indices_from(gram_WW)] += np.float32(l2)
        factor = cho_factor(gram_WW, lower=True, overwrite_a=True, check_finite=False)
        map_WW = cho_solve(factor, cross_WW, overwrite_b=True, check_finite=False)
        return cls(map_VV=_sparse(100 * map_WW, known_W, training.num_items), decay=decay)

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return int(self.map_VV.shape[0])

    def score(self, users: UserBatch) -> Floats:
        """Return x B, (B, V); 0 where events have no order."""
        return sum_of_newest(users.supports, self.map_VV, decay=self.decay)

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return matrix_arrays(self.map_VV) | {"decay": np.array(self.decay)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(map_VV=matrix_of(arrays), decay=float(arrays["decay"]))

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: nothing was done after or before new items."""
        del texts, text_NX
        return self


def _products(
    events: Sequences, known_W: NDArray[np.int64], weights_J: Floats, *, decay: float
) -> tuple[Floats, Floats]:
    """Return X'X and X'(Y - P), (W, W) each, position by position: an example per user at each."""
    column_V = np.full(events.num_items, -1)
    column_V[known_W] = np.arange(len(known_W))
    columns_E = column_V[events.items_E]
    width, starts_U = len(known_W), events.offsets_U[:-1]
    lengths_U = np.diff(events.offsets_U)
    gram_WW, cross_WW = (np.zeros((width, width), dtype=np.float32) for _ in range(2))
    for position in range(1, min(_EXAMPLES, int(lengths_U.max(initial=0)) - 1) + 1):
        users = np.flatnonzero(lengths_U > position)
        offsets = np.arange(max(0, position - NEWEST), position)
        before = starts_U[users, None] + offsets
        x_UW = _rows(
            columns_E[before], np.broadcast_to(decay ** (position - 1.0 - offsets), before.shape), width
        )
        steps = np.arange(len(weights_J))
        after = starts_U[users, None] + position + steps
        inside = position + steps < lengths_U[users, None]
        after = np.where(inside, after, 0)
        y_UW = _rows(columns_E[after], np.where(inside, weights_J, 0), width)
        counted_UW = x_UW.multiply(events.weights_E[starts_U[users] + position, None]).tocsr()
        # What everybody does at this position, for as much as an example has events to come.
        totals_U = np.asarray(y_UW.sum(axis=1)).ravel()
        mean_W = np.asarray(y_UW.sum(axis=0)).ravel() / max(1e-30, totals_U.sum())
        gram = (counted_UW.T @ x_UW).tocoo()
        gram_WW[gram.row, gram.col] += gram.data
        cross = (counted_UW.T @ y_UW).tocoo()
        cross_WW[cross.row, cross.col] += cross.data
        cross_WW -= np.outer(counted_UW.T @ totals_U, mean_W).astype(np.float32)
    return gram_WW, cross_WW


def _rows(columns: NDArray[np.int64], values: NDArray[np.floating], width: int) -> csr_matrix:
    """Return a row per row of columns; those that are -1 are left out."""
    users = np.repeat(np.arange(len(columns)), columns.shape[1]).reshape(columns.shape)
    kept = (columns >= 0) & (values != 0)
    return csr_matrix(
        (values[kept].astype(np.float32), (users[kept], columns[kept])), shape=(len(columns), width)
    )


def _sparse(map_WW: Floats, known_W: NDArray[np.int64], num_items: int) -> csr_matrix:
    """Return each row's entries of largest magnitude at their places among all items, (V, V)."""
    num_kept = min(_NUM_KEPT, len(known_W))
    kept = np.argpartition(-np.abs(map_WW), num_kept - 1, axis=1)[:, :num_kept]
    rows = np.repeat(known_W, num_kept)
    values = np.take_along_axis(map_WW, kept, axis=1).ravel()
    matrix = csr_matrix((values, (rows, known_W[kept.ravel()])), shape=(num_items, num_items))
    matrix.sort_indices()
    return matrix.astype(np.float32)
