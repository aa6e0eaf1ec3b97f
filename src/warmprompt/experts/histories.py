"""Training users' items as compressed rows, by user and by item.

U is training users, V items.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from warmprompt.data.dataset import Dataset
from warmprompt.data.matrices import user_item_matrix
from warmprompt.types import Ints, fields_only, short_repr

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class UserItems:
    """Who has an event with what.

    Attributes:
        num_items: V.
        offsets_U: Where each user's items begin, (U + 1,).
        items: The items, sorted and distinct per user.
    """

    num_items: int
    offsets_U: Rows
    items: Ints

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def of(cls, training: Dataset) -> UserItems:
        """Return the histories of all users of a data set."""
        seen_UV = user_item_matrix(training)
        return cls(
            num_items=training.num_items,
            offsets_U=seen_UV.indptr.astype(np.int64),
            items=seen_UV.indices.astype(np.int32),
        )

    @cached_property
    def lengths_U(self) -> Rows:
        """Items per user."""
        return np.diff(self.offsets_U)

    @cached_property
    def counts_V(self) -> Rows:
        """Users per item."""
        return np.bincount(self.items, minlength=self.num_items)

    @cached_property
    def by_item(self) -> tuple[Rows, Ints]:
        """Where each item's users begin, (V + 1,), and the users."""
        users = np.repeat(np.arange(len(self.lengths_U), dtype=np.int32), self.lengths_U)
        return np.concatenate([[0], np.cumsum(self.counts_V)]), users[np.argsort(self.items, kind="stable")]


def picked(entries: Ints, offsets: Rows, rows: NDArray[np.integer]) -> tuple[Ints, Rows]:
    """Return the entries of some compressed rows, row after row, and the number in each row."""
    starts = offsets[rows]
    lengths = offsets[rows + 1] - starts
    index = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    index += np.arange(len(index))
    return entries[index], lengths


def largest(values: NDArray[np.floating], num_kept: int) -> Rows:
    """Return the positions of the largest values above 0, largest first; ties keep the lowest positions."""
    least = np.partition(values, -num_kept)[-num_kept] if num_kept < len(values) else 0
    kept = np.flatnonzero(values >= least if least > 0 else values > 0)
    return kept[np.argsort(-values[kept], kind="stable")[:num_kept]]
