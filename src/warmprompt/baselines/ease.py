"""EASE: one linear map from a history to all items, solved in closed form.

B is users in a batch, V items, W items with a training event, U = W + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, lapack
from scipy.sparse import csr_matrix

from warmprompt.baselines.common import break_ties, check_decay, fitted, popularity_share, support_matrix
from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class EASE:
    """Ridge regression of every item on all others; a new user's history is multiplied by the map.

    Minimises |X - X B|^2 + l2 |B|^2 with a zero diagonal: with P = (X'X + l2 I)^-1,
    B_ij = -P_ij / P_jj off the diagonal. Costs W^3 time and W^2 memory.

    Args:
        l2: Penalty, > 0.
        decay: What an event of the support counts of the one after it; 1 reads a set.

    Source: Steck 2019, eq. 8.
    """

    l2: float = 5000.0
    decay: float = 1.0
    map_UW: Floats | None = None
    known_W: NDArray[np.int64] | None = None
    share_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return "ease" if self.decay == 1 else "ease-in-time"

    @property
    def num_parameters(self) -> int:
        """The map's entries off the diagonal."""
        return 0 if self.known_W is None else len(self.known_W) * (len(self.known_W) - 1)

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> EASE:
        """Solve for the map; `validation` and `seed` are not needed."""
        del validation, seed
        check_decay(self.decay)
        if not self.l2 > 0:
            raise BadInputError(field="l2", value=self.l2, remedy="Give a number above 0.")
        seen = user_item_matrix(training)
        known_W = np.flatnonzero(np.asarray(seen.sum(axis=0)).ravel() > 0)
        gram_WW = (seen.T @ seen).tocsr()[known_W][:, known_W].toarray().astype(np.float64)
        gram_WW[np.diag_indices_from(gram_WW)] += self.l2
        inverse_WW = inverse(gram_WW)
        map_WW = inverse_WW / -np.diag(inverse_WW)
        np.fill_diagonal(map_WW, 0.0)
        return self.with_map(map_WW, known_W, share_V=popularity_share(training))

    def with_map(self, map_WW: NDArray[np.float64], known_W: NDArray[np.int64], *, share_V: Floats) -> EASE:
        """Return the model with a map between the items of some indexes, and popularity for ties."""
        # One more row, of zeros, for items that were never seen.
        map_UW = np.vstack([map_WW, np.zeros(len(known_W))]).astype(np.float32, order="C")
        return replace(self, map_UW=map_UW, known_W=known_W, share_V=share_V)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the history times the map, (B, V), 0 for items never seen; ties by popularity."""
        share_V = fitted(self.share_V, self.name)
        map_UW, known_W = fitted(self.map_UW, self.name), fitted(self.known_W, self.name)
        row_V = np.full(len(share_V), len(known_W))
        row_V[known_W] = np.arange(len(known_W))
        history = support_matrix(supports, len(share_V), decay=self.decay)
        shape = (len(supports), len(map_UW))
        history_BU = csr_matrix((history.data, row_V[history.indices], history.indptr), shape=shape)
        scores_BV = np.zeros((len(supports), len(share_V)), dtype=np.float32)
        scores_BV[:, known_W] = history_BU @ map_UW
        return break_ties(scores_BV, share_V)


def inverse(gram_WW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of a positive definite matrix: half the work of solving for the identity.

    Raises:
        LinAlgError: It is not positive definite.
    """
    # In Fortran's order the symmetric matrix is its own transpose, so nothing is copied.
    factor_WW, failed = lapack.dpotrf(gram_WW.T, lower=True, overwrite_a=True)
    if failed:
        raise LinAlgError("The Gram matrix is not positive definite.")
    half_WW, _ = lapack.dpotri(factor_WW, lower=True, overwrite_c=True)
    lower_WW = np.tril(half_WW)
    return np.asarray(lower_WW + np.tril(lower_WW, -1).T)
