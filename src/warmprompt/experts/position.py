"""What training users did at the user's position: their first events, their tenth ones, later ones.

    p(i | K) = (sum_j w_j n_i(K + j) + m q_i) / (sum over items of the same),  j = 0 .. 9

where n_i(t) counts training events with item i at position t, q_i is the item's share of all events, m pseudo
events shrink towards it, and w_j falls with the distance (`sequences.ahead_weights`). Catalogues show people
lists: up to five events, where in the list somebody is predicts more than whom the events are of.

P is positions with counts of their own, V items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.experts.sequences import Sequences, ahead_weights
from warmprompt.types import Floats, short_repr

POSITIONS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 30, 50, 80)
"""Users between two of them count as at the lower one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionPopularity:
    """Percentages per position.

    Attributes:
        shares_PV: p(i | K) in percent.
    """

    name: ClassVar[str] = "position_popularity"
    from_events: ClassVar[bool] = False

    shares_PV: Floats

    __repr__ = short_repr

    @classmethod
    def fit(
        cls,
        training: Dataset,
        context: FitContext,
        *,
        pseudo_events: float = 300.0,
        ahead: float | None = None,
    ) -> Self | None:
        """Count events by position.

        Args:
            training: Training users.
            context: Its half-life makes recent events count more, its horizon those soon after.
            pseudo_events: Events of the whole distribution added to each position's, above 0.
            ahead: As in `ahead_weights`.
        """
        events = Sequences.of(training, half_life_s=context.half_life_s)
        if not len(events.items_E):
            return None
        weights_J = ahead_weights(context.horizon, ahead)
        shares_PV = np.zeros((len(POSITIONS), training.num_items), dtype=np.float32)
        for row, position in enumerate(POSITIONS):
            ahead_E = events.positions_E - position
            window = (ahead_E >= 0) & (ahead_E < len(weights_J))
            weights = events.weights_E[window] * weights_J[ahead_E[window]]
            counts_V = pseudo_events * events.shares_V
            counts_V = counts_V + np.bincount(events.items_E[window], weights, training.num_items)
            shares_PV[row] = 100 * counts_V / counts_V.sum()
        return cls(shares_PV=shares_PV)

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return int(self.shares_PV.shape[1])

    def score(self, users: UserBatch) -> Floats:
        """Return the percentages at each user's position, (B, V); 0 where events have no order."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, support in enumerate(users.supports):
            if support.ordered:
                position = np.searchsorted(POSITIONS, len(support.items_K), side="right") - 1
                scores_BV[row] = self.shares_PV[position]
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {"shares_PV": self.shares_PV}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(shares_PV=arrays["shares_PV"])

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: nobody did anything with new items."""
        del texts, text_NX
        return self
