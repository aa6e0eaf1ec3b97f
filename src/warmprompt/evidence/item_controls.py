"""Controls for what item texts are worth to new items: ridge regression from text features to item factors.

The product puts a new item by its text, which a language model reads. These do the same with the text
as a sentence encoder's vector, as TF-IDF of its words, as its genres and year, or as random numbers, over
iALS factors in which users are folded in. X is features, V items, D factors, B users.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from warmprompt.backbone.text import embed_texts
from warmprompt.baselines.common import break_ties, fitted, popularity_share, support_matrix
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.factors import fit_ials
from warmprompt.data.verbalise import genre_table, item_texts
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

_RIDGES = (0.1, 1.0, 10.0, 100.0)
_POPULARITIES = (0.0, 0.01, 0.03, 0.1, 0.3)
_NUM_FOLDS = 5
_NUM_TERMS = 2000
_NUM_RANDOM = 64
_MAX_USERS = 500

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class ItemRidge:
    """Score items by a folded-in user vector, new items' vectors and popularity predicted from their texts.

    The map from features to factors and to log(1 + events) is a ridge regression over the items that
    training users met. Its penalty, and what a unit of log popularity adds to a score, have the best
    NDCG@10 on validation users with every item predicted by a map that was fitted without it (five folds).
    Items that training users met keep their own vectors. Users without events get predicted popularity alone,
    whose penalty is found for them in the same way.

    Args:
        features: "vectors" (all-MiniLM-L6-v2), "tfidf", "genres" (one-hot, with years) or "random".
        num_factors: D of the factors.
        regularization: Of the factors.
        alpha: Confidence of an event in the factors.
    """

    features: str
    num_factors: int = 64
    regularization: float = 10.0
    alpha: float = 5.0
    l2: float | None = None
    popularity: float | None = None
    model: Any = None
    vectors_VD: Floats | None = None
    offset_V: Floats | None = None
    share_V: Floats | None = None
    popular_V: Floats | None = None

    @property
    def name(self) -> str:
        """The row label in tables."""
        return f"item-{self.features}"

    @property
    def num_parameters(self) -> int:
        """Item vectors, predicted ones included."""
        return 0 if self.vectors_VD is None else int(self.vectors_VD.size)

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> ItemRidge:
        """Factorise the training events, and solve for the map.

        Raises:
            BadInputError: No such features, or no item has a genre where genres are asked for.
        """
        model = fit_ials(
            training,
            num_factors=self.num_factors,
            regularization=self.regularization,
            alpha=self.alpha,
            num_iterations=15,
            seed=seed,
        )
        inputs_VX = item_features(self.features, training, seed=seed)
        counts_V = popularity(training)
        warm_V = counts_V > 0
        own_VD = np.hstack([model.item_factors, np.log1p(counts_V)[:, None]]).astype(np.float64)
        fold_V = derive(seed, "item-ridge").integers(0, _NUM_FOLDS, training.num_items)
        episodes = draw_validation_episodes(training, validation, seed=seed, max_users=_MAX_USERS)
        # Equal scores go by popularity, those of new items by a draw: all items of a genre would tie.
        draw_V = derive(seed, "item-ridge ties").random(training.num_items)
        tie_V = np.where(warm_V, popularity_share(training), draw_V).astype(np.float32)
        nobody = draw_validation_episodes(training, validation, seed=seed, ks=(0,), max_users=_MAX_USERS)
        best: tuple[float, float, float] = (-1.0, _RIDGES[0], 0.0)
        best_popular: tuple[float, float] = (-1.0, _RIDGES[0])
        for l2 in _RIDGES:
            blind_VD = own_VD.copy()
            for fold in range(_NUM_FOLDS):
                left_out = warm_V & (fold_V == fold)
                blind_VD[left_out] = _predicted(inputs_VX, own_VD, warm_V & ~left_out, l2)[left_out]
            found = mean_ndcg(self._with(model, blind_VD, 0.0, tie_V).score, nobody)
            if found > best_popular[0]:
                best_popular = (found, l2)
            for weight in _POPULARITIES:
                tried = self._with(model, blind_VD, weight, tie_V)
                found = mean_ndcg(tried.score, episodes)
                if found > best[0]:
                    best = (found, l2, weight)
        _, l2, weight = best
        final_VD = np.where(warm_V[:, None], own_VD, _predicted(inputs_VX, own_VD, warm_V, l2))
        popular_VD = np.where(warm_V[:, None], own_VD, _predicted(inputs_VX, own_VD, warm_V, best_popular[1]))
        popular_V = popular_VD[:, -1].astype(np.float32)
        found_best = self._with(model, final_VD, weight, tie_V)
        return replace(found_best, l2=l2, popularity=weight, popular_V=popular_V)

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return the folded-in user vectors times the item vectors, plus popularity, (B, V)."""
        share_V, vectors_VD = fitted(self.share_V, self.name), fitted(self.vectors_VD, self.name)
        if not supports:
            return np.zeros((0, len(share_V)), dtype=np.float32)
        users_BD = self.model.recalculate_user(
            np.arange(len(supports)), support_matrix(supports, len(share_V))
        )
        scores_BV = users_BD @ vectors_VD.T + fitted(self.offset_V, self.name)
        unknown_B = np.array([not len(support.items_K) for support in supports])
        scores_BV[unknown_B] = fitted(self.popular_V, self.name)
        return break_ties(scores_BV, share_V)

    def _with(self, model: Any, values_VD: Doubles, weight: float, tie_V: Floats) -> ItemRidge:
        return replace(
            self,
            model=model,
            vectors_VD=values_VD[:, :-1].astype(np.float32),
            offset_V=(weight * values_VD[:, -1]).astype(np.float32),
            popular_V=values_VD[:, -1].astype(np.float32),
            share_V=tie_V,
        )


def _predicted(inputs_VX: Doubles, own_VD: Doubles, known_V: NDArray[np.bool_], l2: float) -> Doubles:
    """Return what a ridge regression over the known items predicts for every item, (V, D)."""
    from sklearn.linear_model import Ridge

    predicted_VD: Doubles = Ridge(alpha=l2).fit(inputs_VX[known_V], own_VD[known_V]).predict(inputs_VX)
    return predicted_VD


def item_features(features: str, training: Dataset, *, seed: int) -> Doubles:
    """Return features of every item's text, (V, X).

    "vectors" are MiniLM's, "shuffled" those of another item's text, "mpnet-base" a larger encoder's; or
    "tfidf", "genres" or "random".

    Raises:
        BadInputError: No such features, or no item has a genre where genres are asked for.
    """
    texts = item_texts(training)
    if features == "vectors":
        return np.asarray(embed_texts(texts), dtype=np.float64)
    if features == "mpnet-base":
        return np.asarray(embed_texts(texts, backbone_name=features), dtype=np.float64)
    if features == "shuffled":
        order_V = derive(seed, "shuffled texts").permutation(len(texts))
        return np.asarray(embed_texts(texts), dtype=np.float64)[order_V]
    if features == "tfidf":
        from sklearn.feature_extraction.text import TfidfVectorizer

        vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=_NUM_TERMS)
        return np.asarray(vectorizer.fit_transform(texts).toarray(), dtype=np.float64)
    if features == "genres":
        return _genres(training)
    if features == "random":
        return random_features(seed, texts)
    remedy = "Choose vectors, shuffled, mpnet-base, tfidf, genres or random."
    raise BadInputError(field="features", value=features, remedy=remedy)


def random_features(seed: int, texts: Sequence[str]) -> Doubles:
    """Return numbers drawn for each distinct text, (N, 64)."""
    rows = [derive(seed, "random features", text).normal(size=_NUM_RANDOM) for text in texts]
    drawn_NX: Doubles = np.array(rows) / _NUM_RANDOM**0.5
    return drawn_NX


def _genres(training: Dataset) -> Doubles:
    """Return one column per genre and one per year, (V, X)."""
    has_VG = genre_table(training).has_VG
    if not has_VG.any():
        raise BadInputError(field="data set", value=training.name, remedy="Its items have no genres.")
    if "year" not in training.items.columns:
        return has_VG.astype(np.float64)
    years_V = training.items["year"].fill_null(0).to_numpy()
    of_year_VY = years_V[:, None] == np.unique(years_V)
    return np.hstack([has_VG, of_year_VY]).astype(np.float64)
