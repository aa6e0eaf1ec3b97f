"""Nearest items by their texts: TF-IDF, or vectors that somebody else made.

These rank items without a single event, which nothing that counts events can. B is users in a batch, V
items, X width of the item vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from warmprompt.baselines.common import break_ties, fitted, popularity_share, support_matrix
from warmprompt.baselines.neighbours import unit_rows
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import item_texts
from warmprompt.errors import BadInputError, MismatchError
from warmprompt.types import Floats, Support


@dataclass(frozen=True, kw_only=True, eq=False)
class ContentKNN:
    """Score an item by its summed similarity to the support's items, over vectors of the items' texts.

    score(j) = mean over support items i of max(0, cos(x_i, x_j))^sharpness + popularity * share_j, where
    share_j is the item's events over those of the most popular item.

    Args:
        vectors_VX: One vector per item of the data set; rows of zeros are like nothing.
        sharpness: Power of the similarities, > 0.
        popularity: Weight of an item's popularity, >= 0.

    Source: Lops, de Gemmis & Semeraro 2011, the vector-space model.
    """

    name: ClassVar[str] = "content-vectors"
    num_parameters: ClassVar[int] = 0

    vectors_VX: Floats | None = None
    sharpness: float = 2.0
    popularity: float = 0.0
    unit_VX: Any = None
    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> ContentKNN:
        """Scale the vectors to length 1; `validation` and `seed` are not needed.

        Raises:
            BadInputError: No vectors were given, or they are not finite.
            MismatchError: There is not one vector per item.
        """
        del validation, seed
        _check(self.sharpness, self.popularity)
        vectors_VX = self.vectors_VX
        if vectors_VX is None:
            raise BadInputError(field="vectors_VX", value=None, remedy="Give one text vector per item.")
        if vectors_VX.ndim != 2 or len(vectors_VX) != training.num_items:
            raise MismatchError(
                field="vectors_VX", value=vectors_VX.shape, remedy=f"Give {training.num_items} rows."
            )
        if not np.isfinite(vectors_VX).all():
            raise BadInputError(field="vectors_VX", value="NaN or infinite", remedy="Embed the texts again.")
        lengths = np.linalg.norm(vectors_VX, axis=1, keepdims=True)
        unit_VX = (vectors_VX / np.where(lengths > 0, lengths, 1.0)).astype(np.float32)
        return replace(self, unit_VX=unit_VX, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the mean similarity to the support, (B, V); ties by popularity."""
        return _score(self, supports)


@dataclass(frozen=True, kw_only=True, eq=False)
class TfidfKNN:
    """`ContentKNN` on TF-IDF vectors of `item_texts`, by scikit-learn.

    Args:
        sharpness: Power of the similarities, > 0.
        popularity: Weight of an item's popularity, >= 0.
        max_words: Longest run of words that counts as a term, 1 or 2.
    """

    name: ClassVar[str] = "content-tfidf"
    num_parameters: ClassVar[int] = 0

    sharpness: float = 1.0
    popularity: float = 0.0
    max_words: int = 1
    unit_VX: Any = None
    share_V: Floats | None = None

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> TfidfKNN:
        """Count the terms of all item texts; `validation` and `seed` are not needed."""
        del validation, seed
        _check(self.sharpness, self.popularity)
        unit_VX = tfidf_vectors(training, max_words=self.max_words)
        return replace(self, unit_VX=unit_VX, share_V=popularity_share(training))

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the mean similarity to the support, (B, V); ties by popularity."""
        return _score(self, supports)


def tfidf_vectors(training: Dataset, *, max_words: int = 1) -> csr_matrix:
    """Return the TF-IDF vectors of all item texts, (V, X), of unit length."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(ngram_range=(1, max_words), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b")
    return unit_rows(csr_matrix(vectorizer.fit_transform(item_texts(training)), dtype=np.float32))


def _score(ranker: ContentKNN | TfidfKNN, supports: Sequence[Support]) -> Floats:
    share_V = fitted(ranker.share_V, ranker.name)
    unit_VX = fitted(ranker.unit_VX, ranker.name)
    items = support_matrix(supports, len(share_V))
    # Each item of the batch once: users share items.
    met, index = np.unique(items.indices, return_inverse=True)
    shape = (len(supports), len(met))
    of_user = csr_matrix((items.data, index, items.indptr), shape=shape)
    similar_MV = _cosines(unit_VX, met) ** np.float32(ranker.sharpness)
    num_B1 = np.maximum(1, np.diff(items.indptr))[:, None].astype(np.float32)
    mean_BV = np.asarray(of_user @ similar_MV).reshape(len(supports), len(share_V)) / num_B1
    return break_ties((mean_BV + np.float32(ranker.popularity) * share_V).astype(np.float32), share_V)


def _cosines(unit_VX: Any, rows: NDArray[np.int32]) -> Floats:
    product = unit_VX[rows] @ unit_VX.T
    dense = product.toarray() if issparse(product) else product
    cosines: Floats = np.maximum(dense, 0.0).astype(np.float32)
    return cosines


def _check(sharpness: float, popularity: float) -> None:
    if not sharpness > 0:
        raise BadInputError(field="sharpness", value=sharpness, remedy="Give a number above 0.")
    if popularity < 0:
        raise BadInputError(field="popularity", value=popularity, remedy="Give 0 or more.")
