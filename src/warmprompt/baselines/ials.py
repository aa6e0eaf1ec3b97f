"""iALS: matrix factorisation for implicit feedback, with new users folded in exactly.

B is users in a batch, V items, D factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from warmprompt.baselines.common import break_ties, fitted, popularity_share, support_matrix
from warmprompt.data.dataset import Dataset
from warmprompt.data.factors import fit_ials
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class IALS:
    """Factors by `implicit`; a new user's vector solves the same normal equation as a training user's.

    Args:
        num_factors: D, at least 1.
        regularization: Added to the diagonal of the normal equations, >= 0.
        alpha: Confidence of an event against 1 for everything else, > 0.
        num_iterations: Alternations.

    Source: Hu, Koren & Volinsky 2008.
    """

    name: ClassVar[str] = "ials"

    num_factors: int = 32
    regularization: float = 10.0
    alpha: float = 1.5
    num_iterations: int = 15
    model: Any = None
    share_V: Floats | None = None

    @property
    def num_parameters(self) -> int:
        """Item factors; a new user brings nothing trained."""
        return 0 if self.model is None else int(self.model.item_factors.size)

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> IALS:
        """Factorise the training events; `validation` is not needed."""
        del validation
        model = fit_ials(
            training,
            num_factors=self.num_factors,
            regularization=self.regularization,
            alpha=self.alpha,
            num_iterations=self.num_iterations,
            seed=seed,
        )
        return replace(self, model=model, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the folded-in user vectors times the item factors, (B, V); ties by popularity."""
        share_V = fitted(self.share_V, self.name)
        if not supports:
            return np.zeros((0, len(share_V)), dtype=np.float32)
        vectors_BD = self.model.recalculate_user(
            np.arange(len(supports)), support_matrix(supports, len(share_V), weighted=True)
        )
        return break_ties(vectors_BD @ self.model.item_factors.T, share_V)
