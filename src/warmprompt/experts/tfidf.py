"""The mean cosine of the item's words and those of the user's items, by TF-IDF.

Words are kept as hashes: the expert holds no vocabulary and is stored as plain arrays. The hash has 2^18
values, so of 20,000 words about 7 % share theirs with another one.

V is items, W different words of all texts, K items of one user, N new items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.data.dataset import Dataset
from warmprompt.experts.protocol import Array, FitContext, UserBatch
from warmprompt.types import Floats, Ints, fields_only, short_repr

_NUM_HASHES = 2**18


@dataclass(frozen=True, kw_only=True, eq=False)
class TfIdf:
    """TF-IDF vectors of unit length, as compressed rows.

    Attributes:
        hashes_W: Sorted hashes of the words of the training data's texts, int32.
        idf_W: Their inverse document frequency, float32.
        offsets_V: Where each item's words begin, (V + 1,) int64.
        words: Indexes into `hashes_W`, int32.
        values: Their parts of the item's vector, float32.

    Source: Salton & Buckley 1988; logarithmic counts and smoothed frequencies as in scikit-learn.
    """

    name: ClassVar[str] = "tfidf"
    from_events: ClassVar[bool] = True

    hashes_W: Ints
    idf_W: Floats
    offsets_V: NDArray[np.int64]
    words: Ints
    values: Floats

    __repr__ = short_repr
    __getstate__ = fields_only

    @classmethod
    def fit(cls, training: Dataset, context: FitContext) -> Self | None:
        """Count the words of item texts, where there are texts."""
        del training
        return None if context.texts is None else cls.of_texts(context.texts)

    @classmethod
    def of_texts(cls, texts: Sequence[str]) -> Self:
        """Return the vectors of some texts, one per item."""
        counts = _counts(texts)
        texts_with = np.bincount(counts.indices, minlength=_NUM_HASHES)
        hashes_W = np.flatnonzero(texts_with).astype(np.int32)
        idf_W = (np.log((1 + len(texts)) / (1 + texts_with[hashes_W])) + 1).astype(np.float32)
        return cls.of_words(hashes_W, idf_W)._extended(counts)  # noqa: SLF001 - its own class

    @classmethod
    def of_words(cls, hashes_W: Ints, idf_W: Floats) -> Self:
        """Return known words with no items yet."""
        return cls(
            hashes_W=hashes_W,
            idf_W=idf_W,
            offsets_V=np.zeros(1, dtype=np.int64),
            words=np.zeros(0, dtype=np.int32),
            values=np.zeros(0, dtype=np.float32),
        )

    @property
    def num_items(self) -> int:
        """V, items added later included."""
        return len(self.offsets_V) - 1

    def score(self, users: UserBatch) -> Floats:
        """Return the mean cosines, (B, V)."""
        scores_BV = np.zeros((len(users), self.num_items), dtype=np.float32)
        for row, items_K in enumerate(users.liked):
            if len(items_K):
                scores_BV[row] = self._products(items_K) / np.float32(len(items_K))
        return scores_BV

    def cosines(self, item: int) -> Floats:
        """Return the cosine of each item's words and those of one item, (V,), 0 to 1."""
        return self._products(np.array([item], dtype=np.int32))

    def arrays(self) -> dict[str, Array]:
        """See `Expert`."""
        return {name: getattr(self, name) for name in _FIELDS}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Self:
        """See `Expert`."""
        return cls(**{name: arrays[name] for name in _FIELDS})

    def with_items(self, texts: Sequence[str], text_NX: Floats) -> Self:
        """Return the expert with new items behind the others; words that no earlier text had are left out."""
        del text_NX
        return self._extended(_counts(texts))

    @property
    def rows_VW(self) -> csr_matrix:
        """The vectors, (V, W)."""
        shape = (self.num_items, len(self.hashes_W))
        return csr_matrix((self.values, self.words, self.offsets_V), shape=shape)

    @cached_property
    def _items_WV(self) -> csr_matrix:
        """The items of each word: a user's words touch only the items that have one of them."""
        return self.rows_VW.T.tocsr()

    def _products(self, items_K: Ints) -> Floats:
        """Return the products of each item's vector with the sum of some items' vectors, (V,)."""
        rows = [slice(self.offsets_V[item], self.offsets_V[item + 1]) for item in items_K]
        words = np.concatenate([self.words[row] for row in rows])
        values = np.concatenate([self.values[row] for row in rows])
        shape = (1, len(self.hashes_W))
        wanted_1W = csr_matrix((values, words, np.array([0, len(words)])), shape=shape)
        products_V: Floats = (wanted_1W @ self._items_WV).toarray()[0]
        return products_V

    def _extended(self, counts: csr_matrix) -> Self:
        added = self._rows_of(counts)
        offsets = self.offsets_V[-1] + added.indptr[1:].astype(np.int64)
        return replace(
            self,
            offsets_V=np.concatenate([self.offsets_V, offsets]),
            words=np.concatenate([self.words, added.indices.astype(np.int32)]),
            values=np.concatenate([self.values, added.data.astype(np.float32)]),
        )

    def _rows_of(self, counts: csr_matrix) -> csr_matrix:
        """Return texts' vectors, (texts, W), from how often each hash comes in them."""
        known = counts[:, self.hashes_W].tocsr().astype(np.float32)
        known.sort_indices()
        known.data = (1 + np.log(known.data)) * self.idf_W[known.indices]
        rows = np.repeat(np.arange(known.shape[0]), np.diff(known.indptr))
        squares = np.bincount(rows, known.data.astype(np.float64) ** 2, minlength=known.shape[0])
        known.data = (known.data / np.sqrt(squares)[rows]).astype(np.float32)
        return known


_FIELDS = ("hashes_W", "idf_W", "offsets_V", "words", "values")


def _counts(texts: Sequence[str]) -> csr_matrix:
    """Return how often each hash comes in each text, (texts, hashes)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    if not texts:
        return csr_matrix((0, _NUM_HASHES), dtype=np.float32)
    count = HashingVectorizer(
        n_features=_NUM_HASHES, norm=None, alternate_sign=False, token_pattern=r"(?u)\b\w+\b"
    )
    return csr_matrix(count.transform(texts))
