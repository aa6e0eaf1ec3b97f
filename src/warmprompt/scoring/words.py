"""Words of item texts as numbers: TF-IDF vectors of unit length, also for items that come later.

Words are kept as hashes: a model then holds no vocabulary, and may be stored as plain arrays. The hash has
2^18 values, so of 20,000 words about 7 % share theirs with another one.

V is items, W different words of all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.types import Floats, Ints, fields_only, short_repr

_NUM_HASHES = 2**18


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """The words of each item's text, as compressed rows.

    Attributes:
        hashes_W: Sorted hashes of the words that texts held when they were first read, int32.
        rarity_W: Their inverse document frequency, float32.
        offsets_V: Where each item's words begin, (V + 1,) int64.
        words: Places in `hashes_W`, int32.
        shares: Their parts of the item's vector of unit length, float32.

    Source: Salton & Buckley 1988; logarithmic counts and smoothed frequencies as in scikit-learn.
    """

    hashes_W: Ints
    rarity_W: Floats
    offsets_V: NDArray[np.int64]
    words: Ints
    shares: Floats

    __repr__ = short_repr
    __getstate__ = fields_only

    @property
    def num_items(self) -> int:
        """Items whose texts were read."""
        return len(self.offsets_V) - 1

    @cached_property
    def _rows_VW(self) -> csr_matrix:
        shape = (self.num_items, len(self.hashes_W))
        return csr_matrix((self.shares, self.words, self.offsets_V), shape=shape)

    def cosines(self, item: int) -> Floats:
        """Return the cosine of each item's words and those of one item, (V,), 0 to 1."""
        row = slice(self.offsets_V[item], self.offsets_V[item + 1])
        wanted_W = np.zeros(len(self.hashes_W), dtype=np.float32)
        wanted_W[self.words[row]] = self.shares[row]
        near_V: Floats = self._rows_VW @ wanted_W
        return near_V

    def nearness(self, items_K: Ints) -> Floats:
        """Return the mean cosine of each item's words and those of the given items, (V,), 0 to 1."""
        near_V = np.zeros(self.num_items, dtype=np.float32)
        for item in items_K:
            near_V += self.cosines(item)
        return near_V / np.float32(max(1, len(items_K)))

    def with_texts(self, texts: Sequence[str]) -> Words:
        """Return the words of more items behind these; words that no earlier text held are left out."""
        added = self._rows_of(_counts(texts))
        return replace(
            self,
            offsets_V=np.concatenate(
                [self.offsets_V, self.offsets_V[-1] + added.indptr[1:].astype(np.int64)]
            ),
            words=np.concatenate([self.words, added.indices.astype(np.int32)]),
            shares=np.concatenate([self.shares, added.data.astype(np.float32)]),
        )

    def _rows_of(self, counts: csr_matrix) -> csr_matrix:
        """Return texts' vectors, (texts, W), from how often each hash comes in them."""
        known = counts[:, self.hashes_W].tocsr().astype(np.float32)
        known.sort_indices()
        known.data = (1 + np.log(known.data)) * self.rarity_W[known.indices]
        rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        squares = np.bincount(rows, known.data.astype(np.float64) ** 2, minlength=known.shape[0])
        known.data = (known.data / np.sqrt(squares)[rows]).astype(np.float32)
        return known


def read_words(texts: Sequence[str]) -> Words:
    """Return the words of each text, rare ones weighing more.

    Args:
        texts: One line per item, in index order.
    """
    counts = _counts(texts)
    texts_with = np.bincount(counts.indices, minlength=_NUM_HASHES)
    hashes_W = np.flatnonzero(texts_with).astype(np.int32)
    rarity_W = (np.log((1 + len(texts)) / (1 + texts_with[hashes_W])) + 1).astype(np.float32)
    nothing = np.zeros(0, dtype=np.int32)
    empty = Words(
        hashes_W=hashes_W,
        rarity_W=rarity_W,
        offsets_V=np.zeros(1, dtype=np.int64),
        words=nothing,
        shares=nothing.astype(np.float32),
    )
    return empty.with_texts(texts)


def _counts(texts: Sequence[str]) -> csr_matrix:
    """Return how often each hash comes in each text, (texts, hashes)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    if not texts:
        return csr_matrix((0, _NUM_HASHES), dtype=np.float32)
    count = HashingVectorizer(
        n_features=_NUM_HASHES, norm=None, alternate_sign=False, token_pattern=r"(?u)\b\w+\b"
    )
    return csr_matrix(count.transform(texts))
