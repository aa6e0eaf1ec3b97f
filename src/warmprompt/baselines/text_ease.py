"""EASE whose map is tied by a penalty to one that the items' texts give.

W is items with a training event.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from warmprompt.baselines.common import check_positive, fitted, popularity_share
from warmprompt.baselines.content import tfidf_vectors
from warmprompt.baselines.ease import EASE, inverse
from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class TextEASE:
    """Ridge regression of every item on all others, drawn towards what texts alone would say.

    S minimises |F - F S|^2 + text_l2 |S|^2, where the columns of F are the items' TF-IDF vectors, and B
    minimises |X - X B|^2 + l2 |B|^2 + tie |B - S|^2, both with zero diagonals. Where an item has few events B
    is near S, where it has many the events decide. Costs W^3 time and W^2 memory, twice.

    Args:
        l2: Penalty of the map, > 0.
        text_l2: Penalty of the texts' map, > 0.
        tie: Penalty of the difference between the two, > 0.

    Source: Moon, Park & Lee 2025 (L3AE), with TF-IDF in place of a language model's vectors.
    """

    name: ClassVar[str] = "ease-text"

    l2: float = 200.0
    text_l2: float = 1.0
    tie: float = 100.0
    ease: EASE | None = None

    @property
    def num_parameters(self) -> int:
        """The map's entries off the diagonal."""
        return 0 if self.ease is None else self.ease.num_parameters

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TextEASE:
        """Solve for both maps; `validation` and `seed` are not needed."""
        del validation, seed
        check_positive(l2=self.l2, text_l2=self.text_l2, tie=self.tie)
        seen = user_item_matrix(training)
        known_W = np.flatnonzero(np.asarray(seen.sum(axis=0)).ravel() > 0)
        text_WX = tfidf_vectors(training)[known_W]
        cosines_WW = (text_WX @ text_WX.T).toarray().astype(np.float64)
        gram_WW = (seen.T @ seen).tocsr()[known_W][:, known_W].toarray().astype(np.float64)
        text_map_WW = _map(cosines_WW, self.text_l2, cosines_WW)
        map_WW = _map(gram_WW, self.l2 + self.tie, gram_WW + self.tie * text_map_WW)
        ease = EASE().with_map(map_WW, known_W, share_V=popularity_share(training))
        return replace(self, ease=ease)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the history times the map, (B, V), 0 for items never seen; ties by popularity."""
        return fitted(self.ease, self.name).score(supports)


def _map(gram_WW: NDArray[np.float64], l2: float, target_WW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the B of zero diagonal that minimises tr(B' (G + l2 I) B) - 2 tr(B' T)."""
    ridge_WW = gram_WW.copy()
    ridge_WW[np.diag_indices_from(ridge_WW)] += l2
    inverse_WW = inverse(ridge_WW)
    free_WW = inverse_WW @ target_WW
    map_WW = free_WW - inverse_WW * (np.diag(free_WW) / np.diag(inverse_WW))
    np.fill_diagonal(map_WW, 0.0)
    return np.asarray(map_WW)
