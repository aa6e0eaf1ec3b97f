"""The population model: gradient boosting and a random forest, averaged, the same for every entity.

Their log-odds are the offset that entities deviate from. While the rest learns, a training entity's offset
comes from a fold that has not seen it: offsets that have seen their label leave nothing to learn.

R is rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import average_precision_score

from warmprompt.risk.profile.payments import Bools, Doubles, Longs
from warmprompt.risk.profile.trees import Trees, trees_of_boosting, trees_of_forest
from warmprompt.rng import derive, derive_seed

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# Keeps the log-odds of a forest finite where all of its trees agree.
_LEAST = 1e-3


@dataclass(frozen=True, kw_only=True)
class BoostingSettings:
    """Gradient boosting.

    Attributes:
        learning_rate: Shrinkage of each tree.
        num_trees: Rounds.
        num_leaves: Leaves of a tree.
        min_leaf: Least rows in a leaf.
        l2: Penalty on leaf values.
    """

    learning_rate: float = 0.08
    num_trees: int = 80
    num_leaves: int = 16
    min_leaf: int = 50
    l2: float = 1.0


@dataclass(frozen=True, kw_only=True)
class ForestSettings:
    """A random forest.

    Attributes:
        num_trees: Trees.
        min_leaf: Least rows in a leaf.
        max_features: Share of the features that a split looks at.
        most_genuine: Genuine rows that are kept, drawn at random; all frauds stay.
    """

    num_trees: int = 60
    min_leaf: int = 3
    max_features: float = 0.5
    most_genuine: int = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Boosting and forest, averaged as log-odds.

    Attributes:
        boosting: Totals are log-odds.
        forest: Totals are probabilities.
        weight: Of the forest, 0 to 1.
    """

    boosting: Trees
    forest: Trees
    weight: float

    def log_odds(self, features: Doubles) -> Doubles:
        """Return the log-odds of rows of features, (..., F) to (...)."""
        return mixed(*self.parts(features), self.weight)

    def parts(self, features: Doubles) -> tuple[Doubles, Doubles]:
        """Return the log-odds of the boosting and those of the forest."""
        p = self.forest.total(features.astype(np.float32))
        return self.boosting.total(features), log_odds_of(p)


def log_odds_of(p: Doubles) -> Doubles:
    """Return log-odds of probabilities, drawn in a little so that 0 and 1 stay finite."""
    return np.asarray(np.log((p + _LEAST) / (1 - p + _LEAST)))


def mixed(boosting: Doubles, forest: Doubles, weight: float) -> Doubles:
    """Return the weighted mean of two log-odds."""
    return np.asarray((1 - weight) * boosting + weight * forest)


def best_weight(boosting_R: Doubles, forest_R: Doubles, fraud_R: Bools) -> float:
    """Return the weight of the forest with the highest average precision; one half without any fraud."""
    if not fraud_R.any():
        return 0.5
    return max(
        WEIGHTS,
        key=lambda weight: float(average_precision_score(fraud_R, mixed(boosting_R, forest_R, weight))),
    )


def fit_population(
    features_RF: Doubles,
    fraud_R: Bools,
    *,
    boosting: BoostingSettings,
    forest: ForestSettings,
    weight: float,
    seed: int,
) -> Population:
    """Return both models fitted to rows."""
    return Population(
        boosting=trees_of_boosting(fit_boosting(features_RF, fraud_R, boosting, seed=seed)),
        forest=trees_of_forest(fit_forest(features_RF, fraud_R, forest, seed=seed)),
        weight=weight,
    )


def fit_boosting(
    features_RF: Doubles, fraud_R: Bools, settings: BoostingSettings, *, seed: int
) -> HistGradientBoostingClassifier:
    """Return gradient boosting fitted to rows.

    Source: scikit-learn, after Ke et al. 2017 (LightGBM).
    """
    return HistGradientBoostingClassifier(
        learning_rate=settings.learning_rate,
        max_iter=settings.num_trees,
        max_leaf_nodes=settings.num_leaves,
        min_samples_leaf=settings.min_leaf,
        l2_regularization=settings.l2,
        early_stopping=False,
        random_state=derive_seed(seed, "boosting") % 2**32,
    ).fit(features_RF, fraud_R)


def fit_forest(
    features_RF: Doubles, fraud_R: Bools, settings: ForestSettings, *, seed: int
) -> RandomForestClassifier:
    """Return a random forest fitted to all frauds and some genuine rows.

    Source: Breiman 2001, as in scikit-learn.
    """
    kept = with_most_genuine(fraud_R, settings.most_genuine, seed=seed)
    return RandomForestClassifier(
        n_estimators=settings.num_trees,
        min_samples_leaf=settings.min_leaf,
        max_features=settings.max_features,
        n_jobs=1,
        random_state=derive_seed(seed, "forest") % 2**32,
    ).fit(features_RF[kept], fraud_R[kept])


def with_most_genuine(fraud_R: Bools, most_genuine: int | None, *, seed: int) -> Longs:
    """Return the indices of all frauds and of at most so many genuine rows, drawn at random."""
    genuine = np.flatnonzero(~fraud_R)
    if most_genuine is None or len(genuine) <= most_genuine:
        return np.arange(len(fraud_R))
    drawn = derive(seed, "genuine").choice(genuine, size=most_genuine, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(fraud_R), drawn]))


def crossed_offsets(  # noqa: PLR0913 - rows and how to fold them
    features_RF: Doubles,
    fraud_R: Bools,
    entity_R: Longs,
    others: Sequence[tuple[Doubles, Longs]],
    *,
    boosting: BoostingSettings,
    forest: ForestSettings,
    weight: float,
    num_folds: int,
    seed: int,
) -> tuple[Doubles, list[Doubles]]:
    """Return offsets by folds of entities: for the rows, and for other payments of the same entities.

    Args:
        features_RF: Rows with labels.
        fraud_R: Their labels.
        entity_R: Their entities.
        others: (features (..., F), entity of each of the first axis) of payments to predict only.
        boosting: Of the population model.
        forest: Of the population model.
        weight: Of the forest.
        num_folds: An entity's offset comes from the model of the other folds.
        seed: Of the folds.
    """
    entities = np.unique(entity_R)
    fold_of = np.random.default_rng(derive_seed(seed, "folds")).integers(num_folds, size=len(entities))

    def fold(entity: Longs) -> Longs:
        indices: Longs = fold_of[np.searchsorted(entities, entity).clip(max=len(entities) - 1)]
        return indices

    own = np.empty(len(fraud_R))
    estimates = [np.empty(features.shape[:-1]) for features, _ in others]
    for index in range(num_folds):
        left_out = fold(entity_R) == index
        population = fit_population(
            features_RF[~left_out],
            fraud_R[~left_out],
            boosting=boosting,
            forest=forest,
            weight=weight,
            seed=seed,
        )
        own[left_out] = population.log_odds(features_RF[left_out])
        for target, (features, entity) in zip(estimates, others, strict=True):
            inside = fold(entity) == index
            target[inside] = population.log_odds(features[inside])
    return own, estimates
