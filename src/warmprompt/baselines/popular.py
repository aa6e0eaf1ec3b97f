"""The most popular items: for everybody, or for people with the same attributes.

V is items, C attribute values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from warmprompt.baselines.common import fitted, popularity_share
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.factors import user_item_matrix
from warmprompt.types import Floats, Support

_MAX_VALUES = 50
_NUM_BINS = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPop:
    """Every user gets the items with the most training events."""

    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "toppop"

    @property
    def num_parameters(self) -> int:
        """Nothing is trained."""
        return 0

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TopPop:
        """Count events per item; `validation` and `seed` are not needed."""
        del validation, seed
        return replace(self, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the popularity share of every item, (B, V), the same for each user."""
        return np.tile(fitted(self.share_V, self.name), (len(supports), 1))


@dataclass(frozen=True, kw_only=True, eq=False)
class TopPopDemographic:
    """Popularity among users with the same attribute values.

    The score is log p(item) + weight * sum over attributes of log p(item | value) / p(item), as in naive
    Bayes, with p(item | value) smoothed towards p(item). Attributes whose values all read as numbers
    ("24") are cut into fifths of the training users; other attributes with more than 50 values (postal
    codes) are left out. A user without known values gets plain popularity.

    Args:
        smoothing: Events of the overall distribution added to each value's counts, > 0.
        weight: Trust in the attributes, >= 0; below 1 allows for attributes that overlap.
    """

    smoothing: float = 3000.0
    weight: float = 1.0
    cuts: Mapping[str, Floats] | None = None
    base_V: Floats | None = None
    lifts: Mapping[tuple[str, str], Floats] | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "toppop-demographic"

    @property
    def num_parameters(self) -> int:
        """Nothing is trained."""
        return 0

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TopPopDemographic:
        """Count events per item and attribute value; `validation` and `seed` are not needed."""
        del validation, seed
        # One event more per item, so that an item nobody knows has a finite logarithm.
        counts_V = popularity(training) + 1.0
        share_V = counts_V / counts_V.sum()
        seen = user_item_matrix(training)
        cuts: dict[str, Floats] = {}
        lifts: dict[tuple[str, str], Floats] = {}
        for column in training.users.columns:
            texts = [None if value is None else str(value) for value in training.users[column].to_list()]
            known = [text for text in texts if text is not None]
            if known and all(_is_number(text) for text in known):
                inner = np.linspace(0, 1, _NUM_BINS + 1)[1:-1]
                cuts[column] = np.quantile([float(text) for text in known], inner).astype(np.float32)
            elif len(set(known)) > _MAX_VALUES:
                continue
            cells = np.array(["" if text is None else self._cell(cuts, column, text) for text in texts])
            for cell in sorted(set(cells) - {""}):
                of_cell = np.asarray(seen[np.flatnonzero(cells == cell)].sum(axis=0)).ravel()
                smoothed = (of_cell + self.smoothing * share_V) / (of_cell.sum() + self.smoothing)
                lifts[column, cell] = np.log(smoothed / share_V).astype(np.float32)
        return replace(self, cuts=cuts, base_V=np.log(share_V).astype(np.float32), lifts=lifts)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the log score of every item given each user's attributes, (B, V)."""
        cuts, lifts = self.cuts or {}, self.lifts or {}
        scores_BV = np.tile(fitted(self.base_V, self.name), (len(supports), 1))
        for row, support in enumerate(supports):
            for column, text in support.attributes.items():
                lift_V = lifts.get((column, self._cell(cuts, column, text)))
                if lift_V is not None:
                    scores_BV[row] += np.float32(self.weight) * lift_V
        return scores_BV

    @staticmethod
    def _cell(cuts: Mapping[str, Floats], column: str, text: str) -> str:
        """Return the value's cell: itself, or its fifth; "" where a number was expected and is not there."""
        if column not in cuts:
            return text
        return str(np.searchsorted(cuts[column], float(text))) if _is_number(text) else ""


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
