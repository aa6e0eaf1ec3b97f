"""Rows in numbers: ranks within the period, categories, and what earlier labels of the same entity say.

Levels drift over the years, so a number is read as its rank among the entities of its period, from -1 to 1.
N is rows, J numeric features, F encoded features, C classes, K known rows (padded on the left), Q quantiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from warmprompt.risk.entities.table import UNLABELLED, EntityTable
from warmprompt.risk.profile.payments import Bools, Doubles, Longs

MAX_KNOWN = 20
LEAST_PEERS = 50
_NUM_QUANTILES = 129
_MOST_CATEGORIES, _LEAST_ROWS = 40, 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Encoding:
    """How rows become numbers.

    Attributes:
        quantiles_JQ: Per numeric feature, of the last training period with at least `LEAST_PEERS` values;
            they give ranks in periods with fewer entities.
        missing_M: Numeric features that may be empty: each has a column that says so.
        categories: Feature in words and value, one column each.
    """

    quantiles_JQ: Doubles
    missing_M: Longs
    categories: tuple[tuple[int, str], ...]

    def ranks(self, table: EntityTable) -> Doubles:
        """Return each number's rank in its period, -1 to 1, (N, J); NaN where empty, ties share one."""
        out = np.full(table.numbers_NJ.shape, np.nan)
        for period in range(len(table.periods)):
            rows = np.flatnonzero(table.period_N == period)
            for feature in range(len(self.quantiles_JQ)):
                values = table.numbers_NJ[rows, feature]
                has = ~np.isnan(values)
                out[rows[has], feature] = self._ranked(values[has], feature)
        return out

    def encode(self, table: EntityTable, ranks_NJ: Doubles) -> Doubles:
        """Return the features of all rows, (N, F), from their ranks; an empty number is in the middle."""
        empty_NM = np.isnan(ranks_NJ[:, self.missing_M])
        own = [table.words_NW[:, position] == value for position, value in self.categories]
        return np.column_stack([np.nan_to_num(ranks_NJ), empty_NM, *own]).astype(np.float64)

    def _ranked(self, values: Doubles, feature: int) -> Doubles:
        if len(values) >= LEAST_PEERS:
            return np.asarray((2 * rankdata(values) - 1) / len(values) - 1)
        grid = self.quantiles_JQ[feature]
        both = np.searchsorted(grid, values, side="left") + np.searchsorted(grid, values, side="right")
        return np.asarray(both / len(grid) - 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownLabels:
    """Labelled rows of the same entity that a row may see.

    Attributes:
        row_NK: Rows of the table, oldest first.
        mask_NK: False at padding.
    """

    row_NK: Longs
    mask_NK: Bools


def fit_encoding(table: EntityTable) -> Encoding:
    """Return the encoding of a table's rows; labels are not looked at.

    A value in words has a column of its own where at least 20 rows have it, the 40 most frequent at most.
    """
    levels = np.linspace(0, 1, _NUM_QUANTILES)
    quantiles_JQ = np.zeros((table.numbers_NJ.shape[1], _NUM_QUANTILES))
    for feature, column in enumerate(table.numbers_NJ.T):
        has = ~np.isnan(column)
        counts = np.bincount(table.period_N[has], minlength=len(table.periods))
        large = np.flatnonzero(counts >= LEAST_PEERS)
        rows = has & (table.period_N == large[-1]) if len(large) else has
        quantiles_JQ[feature] = np.quantile(column[rows], levels)
    categories = []
    for position in range(table.words_NW.shape[1]):
        values, counts = np.unique(table.words_NW[:, position], return_counts=True)
        pairs = zip(values.tolist(), counts.tolist(), strict=True)
        categories += [(count, position, value) for value, count in pairs if value and count >= _LEAST_ROWS]
    kept = sorted(categories, key=lambda one: -one[0])[:_MOST_CATEGORIES]
    return Encoding(
        quantiles_JQ=quantiles_JQ,
        missing_M=np.flatnonzero(np.isnan(table.numbers_NJ).any(axis=0)),
        categories=tuple((position, value) for _, position, value in kept),
    )


def known_labels(table: EntityTable, *, delay: int, most: int | Longs = MAX_KNOWN) -> KnownLabels:
    """Return each row's last labelled rows of the same entity whose labels are known in its period.

    Args:
        table: Rows by entity, then period.
        delay: A label of period p is known in period p + delay.
        most: How many at most, of all rows or per row; 0 hides all.
    """
    labelled = np.flatnonzero(table.label_N != UNLABELLED)
    stride = len(table.periods) + delay
    index_N = table.entity_N * stride + table.period_N
    first_N = np.searchsorted(index_N[labelled], table.entity_N * stride)
    end_N = np.searchsorted(index_N[labelled], index_N - delay, side="right")
    place_NK = end_N[:, None] - MAX_KNOWN + np.arange(MAX_KNOWN)
    mask_NK = place_NK >= np.maximum(first_N, end_N - most)[:, None]
    place_NK = np.where(mask_NK, place_NK, 0)
    row_NK = labelled[place_NK] if len(labelled) else np.zeros_like(place_NK)
    return KnownLabels(row_NK=row_NK, mask_NK=mask_NK)


def label_features(table: EntityTable, known: KnownLabels, *, num_classes: int) -> Doubles:
    """Return what known labels say, (N, 2 C + 1): the last one, the share of each class, how many.

    All are 0 for a row without any.
    """
    seen_NKC = (table.label_N[known.row_NK][:, :, None] == np.arange(num_classes)) & known.mask_NK[:, :, None]
    num_N1 = known.mask_NK.sum(axis=1, keepdims=True)
    return np.hstack([seen_NKC[:, -1], seen_NKC.sum(axis=1) / np.maximum(num_N1, 1), num_N1 / MAX_KNOWN])
