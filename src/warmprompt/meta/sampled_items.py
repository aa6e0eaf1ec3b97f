"""A sample of the items, over which an outer step is taken where there are too many for all.

The items of the step's users and the most popular ones are always in it. The others are drawn at random, and
each stands for as many items as were left out for it: exp(score) counts that often in sums over items, so
these are right on average. V is all items, S sampled ones.

Source: sampled softmax with importance weights (Bengio & Senecal 2008), here with a part that is certain.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from warmprompt.data.episodes import EventBatch
from warmprompt.meta.model import Catalogue, CatalogueData, Params, make_catalogue
from warmprompt.types import Ints, short_repr

PER_ITEM = ("items.learned", "items.support_offset", "items.bias")
"""Parameters with a row per item."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SampledItems:
    """Some items in the place of all.

    Attributes:
        rows_S: Their indexes among all items, rising.
        data: What is known of them.
        log_stands_S: Logarithm of how many items each stands for; 0 where it is certain to be sampled.
        num_warm: Items with a training event, sampled or not.
    """

    rows_S: Tensor
    data: CatalogueData
    log_stands_S: Tensor
    num_warm: int

    __repr__ = short_repr

    def at(self, params: Params) -> Catalogue:
        """Return the catalogue of the sample; `PER_ITEM` parameters have its rows only."""
        return make_catalogue(params, self.data, log_stands_V=self.log_stands_S, num_warm=self.num_warm)

    def here(self, batch: EventBatch) -> EventBatch:
        """Return events of sampled items, named by their place in the sample."""
        places_BK = np.searchsorted(self.rows_S.cpu().numpy(), batch.items_BK)
        return replace(batch, items_BK=np.where(batch.mask_BK, places_BK, 0))


class ItemSampler:
    """Draws samples of one catalogue."""

    def __init__(self, data: CatalogueData, size: int) -> None:
        """Make a sampler.

        Args:
            data: All items.
            size: Items of a sample besides those of the users; half of them the most popular.
        """
        self._data, self._size = data, size
        self._warm = np.flatnonzero(data.warm_V.cpu().numpy())
        order = np.argsort(-data.log_popularity_V.cpu().numpy()[self._warm], kind="stable")
        self._popular = self._warm[order[: size // 2]]

    def draw(self, items: Ints, rng: np.random.Generator) -> SampledItems:
        """Return a sample that holds these items."""
        certain = np.union1d(items, self._popular)
        drawn = np.setdiff1d(self._warm[rng.integers(len(self._warm), size=self._size // 2)], certain)
        num_left = len(self._warm) - int((self._data.warm_V[torch.from_numpy(certain)] > 0).sum())
        rows = np.concatenate([certain, drawn])
        log_stands = np.zeros(len(rows), dtype=np.float32)
        log_stands[len(certain) :] = np.log(max(1, num_left) / max(1, len(drawn)))
        order = np.argsort(rows)
        device, rows_S = self._data.warm_V.device, torch.from_numpy(rows[order])
        return SampledItems(
            rows_S=rows_S.to(device),
            data=_rows_of(self._data, rows_S.to(device)),
            log_stands_S=torch.from_numpy(log_stands[order]).to(device),
            num_warm=len(self._warm),
        )


def _rows_of(data: CatalogueData, rows_S: Tensor) -> CatalogueData:
    per_item = {one.name: getattr(data, one.name) for one in fields(data) if one.name.partition("_V")[1]}
    return replace(data, **{name: value[rows_S] for name, value in per_item.items()})
