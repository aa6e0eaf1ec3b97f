"""What training users did soon after the user's newest events: a directed graph of items.

    score(j) = sum_k d^age(k) n(i_k -> j) / (n(i_k) + m)  over  sum_k d^age(k)

where n(i -> j) counts how often j came within ten events after i, the further ahead the less
(`sequences.ahead_weights`), and n(i) is its sum over j.

Source: Rendle, Freudenthaler & Schmidt-Thieme 2010, section 4.1, for one item at a time; here with a window
and several items. V is items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix, diags

from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import keep_largest
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.sequences import Sequences, ahead_weights, newest, sum_of_newest
from warmprompt.types import Floats, fields_only, short_repr

_NUM_KEPT = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class Transitions:
    """Shrunk percentages of what follows each item.

    Attributes:
        steps_VV: By row the item that went before.
        decay: What an event counts of the one after it, above 0, at most 1.
    """

    name: ClassVar[str] = "transitions"
    from_events: ClassVar[bool] = False

    steps_VV: csr_matrix
    decay: float

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(
        cls,
        training: Dataset,
        context: FitContext,
        *,
        shrinkage: float = 30.0,
        ahead: float | None = None,
        decay: float = 0.7,
    ) -> Self | None:
        """Count what follows what.

        Args:
            training: Training users.
            context: Its half-life makes recent events count more, its horizon those soon after.
            shrinkage: Steps added to each item's own, which lead nowhere; 0 or more.
            ahead: As in `ahead_weights`.
            decay: Of scored users' events.
        """
        events = Sequences.of(training, half_life_s=context.half_life_s)
        shape = (training.num_items, training.num_items)
        steps_VV = csr_matrix(shape, dtype=np.float32)
        for distance, weight in enumerate(ahead_weights(context.horizon, ahead), 1):
            before, after = events.steps(distance)
            weights = events.weights_E[after] * np.float32(weight)
            steps_VV += csr_matrix((weights, (events.items_E[before], events.items_E[after])), shape=shape)
        if not steps_VV.nnz:
            return None
        totals_V = np.asarray(steps_VV.sum(axis=1)).ravel() + shrinkage
        shares_VV = (diags((100 / np.maximum(totals_V, 1e-30)).astype(np.float32)) @ steps_VV).tocsr()
        return cls(steps_VV=keep_largest(shares_VV, _NUM_KEPT).astype(np.float32), decay=decay)

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return int(self.steps_VV.shape[0])

    def score(self, users: UserBatch) -> Floats:
        """Return the mean percentages, (B, V); 0 where events have no order."""
        ages = [newest(support, self.num_items)[1] for support in users.supports]
        totals_B = np.array([(self.decay**ages_K).sum() or 1 for ages_K in ages], dtype=np.float32)
        return sum_of_newest(users.supports, self.steps_VV, decay=self.decay) / totals_B[:, None]

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return matrix_arrays(self.steps_VV) | {"decay": np.array(self.decay)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(steps_VV=matrix_of(arrays), decay=float(arrays["decay"]))

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: nothing was done after or before new items."""
        del texts, text_NX
        return self


def matrix_arrays(matrix_VV: csr_matrix) -> dict[str, Array]:
    """Return a square matrix as the arrays of an expert."""
    return {"values": matrix_VV.data, "items": matrix_VV.indices, "offsets_V": matrix_VV.indptr}


def matrix_of(arrays: Mapping[str, Array]) -> csr_matrix:
    """Return the square matrix among an expert's arrays."""
    width = len(arrays["offsets_V"]) - 1
    return csr_matrix((arrays["values"], arrays["items"], arrays["offsets_V"]), shape=(width, width))
