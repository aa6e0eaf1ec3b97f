"""A row in words, for the language model: text first, then the figures that separate the classes best.

The model reads 48 tokens, so few figures are given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from warmprompt.risk.entities.encoding import KnownLabels
from warmprompt.risk.entities.table import EntityTable, TableSchema
from warmprompt.risk.profile.payments import Doubles, Longs

NUM_FIGURES = 4
_SCALES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
_LEVELS = ("among the lowest", "low", "middling", "high", "among the highest")
_MOST_LABELS = 3
_LIKE_ANOTHER = 0.9


def number_in_words(value: float) -> str:
    """Return two digits of a number and its magnitude: "3.4 billion", "-120 thousand", "0.012", "4.5e-07"."""
    if math.isnan(value):
        return "unknown"
    rounded = float(f"{value:.1e}")
    for size, name in _SCALES:
        if abs(rounded) >= size:
            return f"{rounded / size:.3g} {name}"
    return f"{rounded:.1e}" if 0 < abs(rounded) < 1e-4 else f"{rounded:.3g}"


def rank_in_words(rank: float) -> str:
    """Return a rank among peers, -1 to 1, in words; the outer levels are a tenth of the peers each."""
    if math.isnan(rank):
        return "not reported"
    return _LEVELS[int(np.searchsorted((-0.8, -0.3, 0.3, 0.8), rank))]


def telling_figures(ranks_NJ: Doubles, label_N: Longs) -> tuple[int, ...]:
    """Return the numeric features with the largest share of variance between classes (eta squared).

    A feature with a correlation above 0.9 to one that is taken already is left out.
    """
    x_NJ = np.nan_to_num(ranks_NJ)
    total_J = x_NJ.var(axis=0)
    between_J = np.zeros_like(total_J)
    for one in np.unique(label_N):
        between_J += (label_N == one).mean() * (x_NJ[label_N == one].mean(axis=0) - x_NJ.mean(axis=0)) ** 2
    share_J = np.divide(between_J, total_J, out=np.zeros_like(total_J), where=total_J > 0)
    kept: list[int] = []
    for feature in np.argsort(-share_J, kind="stable").tolist():
        if len(kept) == NUM_FIGURES or share_J[feature] == 0:
            break
        if all(abs(np.corrcoef(x_NJ[:, feature], x_NJ[:, one])[0, 1]) < _LIKE_ANOTHER for one in kept):
            kept.append(feature)
    return tuple(kept)


def describe_rows(
    table: EntityTable,
    schema: TableSchema,
    ranks_NJ: Doubles,
    known: KnownLabels,
    rows: Longs,
    figures: Sequence[int],
) -> list[str]:
    """Return rows in words: "bank; country Peru; rating 2, before 3; Total assets 3.4 billion, high".

    Args:
        table: The rows, and earlier ones with their labels.
        schema: Names of the columns and classes.
        ranks_NJ: From `Encoding.ranks`.
        known: The labels that each row may see.
        rows: Rows to describe.
        figures: Numeric features to give, in this order.
    """
    texts = []
    for row in rows.tolist():
        parts = [_spoken(schema.entity)]
        cells = zip(schema.words, table.words_NW[row].tolist(), strict=True)
        parts += [f"{_spoken(name)} {value}" for name, value in cells if value]
        seen = known.row_NK[row][known.mask_NK[row]][-_MOST_LABELS:][::-1]
        labels = [schema.classes[label] for label in table.label_N[seen]]
        if labels:
            parts.append(f"{_spoken(schema.label)} {', before '.join(labels)}")
        parts += [
            f"{_spoken(schema.numeric[one])} {number_in_words(table.numbers_NJ[row, one])}, "
            f"{rank_in_words(ranks_NJ[row, one])}"
            for one in figures
        ]
        texts.append("; ".join(parts))
    return texts


def _spoken(name: str) -> str:
    return " ".join(name.replace("_", " ").split())
