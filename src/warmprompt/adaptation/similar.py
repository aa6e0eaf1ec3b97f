"""Items like an item: cosines between the vectors that rankings are made with.

Two such vectors point the same way where the same people like the two items. An item without events lies
where its text puts it, among items with such texts, so new items are compared as well. Length and popularity,
which say how much an item is liked and not by whom, play no part. V is items, D factors.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from warmprompt.errors import UnknownNameError
from warmprompt.types import Floats, ItemId, Support

Mask = NDArray[np.bool_]
_SHORTEST = 1e-12


@torch.no_grad()
def similar_cosines(
    vectors_VD: Tensor, index: int, item: ItemId, mask: Mask | None
) -> tuple[Floats, Support, Mask]:
    """Return cosines with an item, (1, V), the item as what is left out, and which items can be compared.

    Args:
        vectors_VD: Vectors of the catalogue.
        index: The item's position.
        item: Its id, for the error.
        mask: Items that may be ranked, (V,), or None for all.

    Raises:
        UnknownNameError: Nothing is known of the item: it has the zero vector, which has no direction.
    """
    lengths_V = vectors_VD.norm(dim=1)
    comparable_V = (lengths_V > _SHORTEST).cpu().numpy()
    if not comparable_V[index]:
        remedy = "It has neither events nor a text that the model reads: nothing is similar to it."
        raise UnknownNameError(field="item", value=item, remedy=remedy)
    units_VD = vectors_VD / lengths_V.clamp(min=_SHORTEST)[:, None]
    cosines_V = (units_VD @ units_VD[index]).clamp(-1, 1)
    own = Support(user="", items_K=np.array([index], np.int32), ratings_K=np.array([np.nan], np.float32))
    return cosines_V.cpu().numpy()[None], own, comparable_V if mask is None else mask & comparable_V
