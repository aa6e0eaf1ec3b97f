"""The product of the adapted user vector and the item vectors: what meta-learning gives.

B is users, V items, D factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class UserVector:
    """Item vectors of the trained model.

    Attributes:
        items_VD: On the device that scores.
    """

    name: ClassVar[str] = "user_vector"
    from_events: ClassVar[bool] = False

    items_VD: Tensor

    __repr__ = short_repr

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self:
        """Take the trained model's item vectors."""
        del training
        return cls(items_VD=torch.from_numpy(context.catalogue_VD))

    @property
    def num_items(self) -> int:
        """V."""
        return len(self.items_VD)

    @torch.no_grad()
    def score(self, users: UserBatch) -> Floats:
        """Return the products, (B, V)."""
        scores_BV: Floats = (users.vectors_BD.to(self.items_VD.device) @ self.items_VD.T).cpu().numpy()
        return scores_BV

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {"items_VD": self.items_VD.cpu().numpy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(items_VD=torch.from_numpy(arrays["items_VD"]))

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the same expert: the trained model scores new items itself, and gives their vectors."""
        del texts, text_NX
        return self
