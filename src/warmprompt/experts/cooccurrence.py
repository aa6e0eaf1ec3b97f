"""How often the item comes with the user's items: summed cosines over sqrt(K).

Source: item-based nearest neighbours (Sarwar et al. 2001), cosine with shrinkage. V is items, K items of one
user.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import item_cosines
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, fields_only, short_repr

_SHRINKAGE = 10.0
_NUM_KEPT = 200


@dataclass(frozen=True, kw_only=True, eq=False)
class Cooccurrence:
    """Cosines of items over training users.

    Attributes:
        cosines_VV: Each item's largest cosines with other items, by row.
    """

    name: ClassVar[str] = "cooccurrence"
    from_events: ClassVar[bool] = True

    cosines_VV: csr_matrix

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Count which items come together."""
        del context
        return cls(cosines_VV=item_cosines(training, shrinkage=_SHRINKAGE, num_kept=_NUM_KEPT))

    @property
    def num_items(self) -> int:
        """V of the training data."""
        return int(self.cosines_VV.shape[0])

    def score(self, users: UserBatch) -> Floats:
        """Return the sums, (B, V)."""
        near = self.cosines_VV
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, items_K in enumerate(users.liked):
            known_K = items_K[items_K < self.num_items]
            for item in known_K:
                cells = slice(near.indptr[item], near.indptr[item + 1])
                scores_BV[row, near.indices[cells]] += near.data[cells]
            scores_BV[row] /= np.float32(np.sqrt(max(1, len(known_K))))
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        near = self.cosines_VV
        return {"offsets_V": near.indptr.astype(np.int64), "items": near.indices, "cosines": near.data}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        num_items = len(arrays["offsets_V"]) - 1
        parts = (arrays["cosines"], arrays["items"], arrays["offsets_V"])
        return cls(cosines_VV=csr_matrix(parts, shape=(num_items, num_items)))

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: new items come with nothing yet."""
        del texts, text_NX
        return self
