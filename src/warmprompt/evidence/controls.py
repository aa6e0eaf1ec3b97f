"""Controls for what a sentence is worth without history: ridge regression from text features to items.

The product reads a sentence with a language model. These read the same sentence as TF-IDF of its words, as a
sentence encoder's vector, as the genres it names, or as random numbers, and know nothing else; what the
product's prompt is worth at K = 0 is its gain over the best of them. N is sentences, X features, V items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.common import fitted, popularity_share
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.genre_words import genre_words
from warmprompt.data.matrices import user_item_matrix
from warmprompt.data.verbalise import GenreTable, describe_tastes, favourite_genres, genre_table
from warmprompt.errors import BadInputError
from warmprompt.evidence.item_controls import ItemRidge, random_features
from warmprompt.rng import derive
from warmprompt.scoring.ranking import ndcg_per_user, ranks
from warmprompt.types import Floats, Ranker, Support

_WORDINGS = 4
_RIDGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_NUM_TERMS = 2000

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class SentenceRidge:
    """Score items by popularity plus a linear map of a sentence's features.

    Training users get sentences about the favourite genres of a random half of their events, in training
    phrasings and as bare lists of genres; the map W minimises |Y - P - X W|^2 + l2 |W|^2, with rows of Y the
    shares of each item in the other half and P the items' shares of all events. l2 is chosen by NDCG@10 on
    validation users' sentences. Events of the support are not read.

    Args:
        features: "tfidf", "vectors" (all-MiniLM-L6-v2), "genres" (one-hot of the genres that are named by a
            word of the training phrasings or as the data set spells them) or "random" (numbers drawn for
            each distinct text).
    """

    features: str
    l2: float | None = None
    encode: Callable[[Sequence[str]], Doubles] | None = None
    map_XV: Doubles | None = None
    share_V: Doubles | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"sentence-{self.features}"

    @property
    def num_parameters(self) -> int:
        """The map's entries."""
        return 0 if self.map_XV is None else int(self.map_XV.size)

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> SentenceRidge:
        """Write sentences about the training users, and solve for the map.

        Raises:
            BadInputError: No such features, or no item has a genre.
        """
        texts, targets_NV = _sentences(training, seed=seed)
        checks, wanted_NV = _sentences(validation, seed=seed)
        if not texts:
            raise BadInputError(field="data set", value=training.name, remedy="Its items have no genres.")
        share_V = popularity_share(training).astype(np.float64)
        encode = _encoder(self.features, texts, genre_table(training), seed=seed)
        x_NX, check_NX = encode(texts), encode(checks) if checks else np.zeros((0, 0))
        popular_V = popularity(training) / max(1, len(training.interactions))
        # X'(Y - P) without the dense residual: Y is sparse, and P is the same row for all.
        right_XV = (targets_NV.T @ x_NX).T - np.outer(x_NX.sum(axis=0), popular_V)
        gram_XX = x_NX.T @ x_NX
        best: tuple[float, float, Doubles] | None = None
        for l2 in _RIDGES:
            map_XV = np.linalg.solve(gram_XX + l2 * np.eye(len(gram_XX)), right_XV)
            found = (
                _ndcg(popular_V + check_NX @ map_XV, wanted_NV, popularity(training) > 0) if checks else 0.0
            )
            if best is None or found > best[0]:
                best = (found, l2, map_XV)
        assert best is not None
        return replace(self, l2=best[1], encode=encode, map_XV=best[2], share_V=popular_V + 1e-12 * share_V)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return popularity plus the map of each sentence's features, (B, V)."""
        share_V, map_XV = fitted(self.share_V, self.name), fitted(self.map_XV, self.name)
        encode = fitted(self.encode, self.name)
        scores_BV = np.tile(share_V, (len(supports), 1))
        with_text = [index for index, support in enumerate(supports) if support.about]
        if with_text:
            scores_BV[with_text] += encode([str(supports[index].about) for index in with_text]) @ map_XV
        # Shares are small: brought to the size of counts before they become float32.
        scaled_BV: Floats = (scores_BV / share_V.max()).astype(np.float32)
        return scaled_BV


ITEM_CONTROLS: Mapping[str, Callable[..., Ranker]] = {
    f"item-{features}": partial(ItemRidge, features=features)
    for features in ("vectors", "tfidf", "genres", "random")
}
CONTROLS: Mapping[str, Callable[..., Ranker]] = {
    **{
        f"sentence-{features}": partial(SentenceRidge, features=features)
        for features in ("tfidf", "vectors", "genres", "random")
    },
    **ITEM_CONTROLS,
}
"""Name to factory; a plan names them like baselines."""


def _sentences(dataset: Dataset, *, seed: int) -> tuple[list[str], csr_matrix]:
    """Return sentences about half of each user's events, and the items' shares in the other half, (N, V)."""
    table, seen = genre_table(dataset), user_item_matrix(dataset).tocsr()
    texts: list[str] = []
    rows: list[int] = []
    columns: list[NDArray[np.int64]] = []
    for user in range(dataset.num_users):
        items = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
        if len(items) < 2:
            continue
        rng = derive(seed, "sentence-ridge", str(dataset.user_ids[user]))
        for wording in range(_WORDINGS):
            mixed = rng.permutation(items)
            half = len(items) // 2
            genres = favourite_genres(mixed[:half], table, top=3)
            if not genres:
                continue
            bare = wording == _WORDINGS - 1
            texts.append(", ".join(sorted(genres)) if bare else describe_tastes(genres, rng=rng))
            columns.append(mixed[half:].astype(np.int64))
            rows.append(len(mixed) - half)
    lengths = np.array(rows, dtype=np.int64)
    data = np.repeat(1.0 / np.maximum(1, lengths), lengths)
    indices = np.concatenate([*columns, np.zeros(0, dtype=np.int64)])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return texts, csr_matrix((data, indices, offsets), shape=(len(texts), dataset.num_items))


def _encoder(
    features: str, texts: Sequence[str], genres: GenreTable, *, seed: int
) -> Callable[[Sequence[str]], Doubles]:
    """Return what turns texts into features, (N, X), the last of them 1 for the mean."""
    read: Callable[[Sequence[str]], Any]
    if features == "tfidf":
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, min_df=3, max_features=_NUM_TERMS
        ).fit(texts)
        read = partial(_tfidf, vectorizer)
    elif features == "vectors":
        read = embed_texts
    elif features == "genres":
        read = genre_words(genres).named_in
    elif features == "random":
        read = partial(random_features, seed)
    else:
        remedy = "Choose tfidf, vectors, genres or random."
        raise BadInputError(field="features", value=features, remedy=remedy)
    return partial(_with_one, read)


def _with_one(read: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> Doubles:
    distinct = list(dict.fromkeys(texts))
    index = {text: row for row, text in enumerate(distinct)}
    values = np.asarray(read(distinct), dtype=np.float64)[[index[text] for text in texts]]
    return np.hstack([values, np.ones((len(texts), 1))])


def _tfidf(vectorizer: Any, texts: Sequence[str]) -> Doubles:
    return np.asarray(vectorizer.transform(texts).toarray(), dtype=np.float64)


def _ndcg(scores_NV: Doubles, wanted_NV: csr_matrix, candidates_V: NDArray[np.bool_]) -> float:
    queries = [
        wanted_NV.indices[wanted_NV.indptr[row] : wanted_NV.indptr[row + 1]].astype(np.int32)
        for row in range(wanted_NV.shape[0])
    ]
    return float(ndcg_per_user(ranks(scores_NV.astype(np.float32), queries, candidates=candidates_V)).mean())
