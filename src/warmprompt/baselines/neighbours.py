"""Nearest neighbours by cosine: items like the user's items, or users like the user.

A new user needs no training: the neighbours of the support are looked up. N is
training users, B users in a batch, V items.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.sparse import csr_matrix, diags

from warmprompt.baselines.common import break_ties, check_decay, fitted, popularity_share, support_matrix
from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import item_cosines, keep_largest, user_item_matrix
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemKNN:
    """Score an item by its summed similarity to the support's items.

    similarity(i, j) = c_ij / (sqrt(c_i * c_j) + shrinkage), where c counts training users; each item
    keeps its `num_neighbours` most similar others. Shrinkage 0 is the cosine.

    Args:
        num_neighbours: Neighbours kept per item, at least 1.
        shrinkage: Distrust of similarities that rest on few users, >= 0.
        decay: What an event of the support counts of the one after it; 1 reads a set.

    Source: Deshpande & Karypis 2004; shrinkage after Bell & Koren 2007.
    """

    num_parameters: ClassVar[int] = 0

    num_neighbours: int = 500
    shrinkage: float = 20.0
    decay: float = 1.0
    neighbours_VV: csr_matrix | None = None
    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "itemknn" if self.decay == 1 else "itemknn-in-time"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> ItemKNN:
        """Compute the item similarities; `validation` and `seed` are not needed."""
        del validation, seed
        _check_neighbours(self.num_neighbours)
        check_decay(self.decay)
        if self.shrinkage < 0:
            raise BadInputError(field="shrinkage", value=self.shrinkage, remedy="Give 0 or more.")
        # Transposed, so that row j holds the items that count j among their neighbours.
        cosines = item_cosines(training, shrinkage=self.shrinkage, num_kept=self.num_neighbours)
        neighbours = cosines.T.tocsr()
        return replace(self, neighbours_VV=neighbours, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the summed similarity of every item to the support, (B, V); ties by popularity."""
        share_V = fitted(self.share_V, self.name)
        sums = support_matrix(supports, len(share_V), decay=self.decay) @ fitted(
            self.neighbours_VV, self.name
        )
        return break_ties(sums.toarray(), share_V)


@dataclass(frozen=True, kw_only=True, eq=False)
class UserKNN:
    """Score an item by the summed similarity of the nearest training users who have an event with it.

    Histories are weighted per item by popularity^(-damping) before the cosine, so that sharing a rare
    item weighs more; each similarity enters to the power `sharpness`.

    Args:
        num_neighbours: Nearest training users counted, at least 1.
        damping: How much popular items count less, >= 0; 0 is the plain cosine.
        sharpness: Power of the similarities in the vote, >= 0; 0 gives each neighbour one vote.
        decay: What an event of the support counts of the one after it; 1 reads a set.

    Source: Herlocker et al. 1999, for implicit feedback.
    """

    num_parameters: ClassVar[int] = 0

    num_neighbours: int = 50
    damping: float = 0.25
    sharpness: float = 2.0
    decay: float = 1.0
    seen_NV: csr_matrix | None = None
    unit_VN: csr_matrix | None = None
    weight_V: Floats | None = None
    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "userknn" if self.decay == 1 else "userknn-in-time"

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> UserKNN:
        """Keep the training users' histories; `validation` and `seed` are not needed."""
        del validation, seed
        _check_neighbours(self.num_neighbours)
        check_decay(self.decay)
        seen = user_item_matrix(training)
        counts_V = np.asarray(seen.sum(axis=0)).ravel()
        weight_V = (np.maximum(counts_V, 1.0) ** -self.damping).astype(np.float32)
        return replace(
            self,
            seen_NV=seen,
            unit_VN=unit_rows((seen @ diags(weight_V)).tocsr()).T.tocsr(),
            weight_V=weight_V,
            share_V=popularity_share(training),
        )

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the neighbours' votes for every item, (B, V); ties by popularity."""
        share_V = fitted(self.share_V, self.name)
        weighted = support_matrix(supports, len(share_V), decay=self.decay) @ diags(
            fitted(self.weight_V, self.name)
        )
        nearest = keep_largest((unit_rows(weighted.tocsr()) @ self.unit_VN).tocsr(), self.num_neighbours)
        nearest.data = nearest.data**self.sharpness
        return break_ties((nearest @ self.seen_NV).toarray().astype(np.float32), share_V)


def unit_rows(matrix: csr_matrix) -> csr_matrix:
    """Return the matrix with rows of length 1; empty rows stay empty."""
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    return (diags(scale) @ matrix).tocsr()


def _check_neighbours(num_neighbours: int) -> None:
    if num_neighbours < 1:
        raise BadInputError(field="num_neighbours", value=num_neighbours, remedy="Give at least 1.")
