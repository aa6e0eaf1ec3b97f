"""The population model: gradient boosting on features, the same for every entity.

Its log-odds are the offset that entities deviate from. While the rest learns, a training entity's offset
comes from a fold that has not seen it: offsets that have seen their label leave nothing to learn.

R is rows, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from warmprompt.risk.profile.payments import Bools, Doubles, Longs
from warmprompt.rng import derive_seed


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """Fitted trees as arrays: no pickle to store them, and one row costs microseconds.

    Attributes:
        feature: Per node, the feature it splits on.
        threshold: Per node; values at most this go left.
        left: Per node, position of the left child; itself for a leaf.
        right: As `left`.
        value: Per node, the leaf's log-odds; 0 inside.
        root: Per tree, the position of its root.
        baseline: Log-odds before the first tree.
        depth: Of the deepest tree.
    """

    feature: Longs
    threshold: Doubles
    left: Longs
    right: Longs
    value: Doubles
    root: Longs
    baseline: float
    depth: int

    def log_odds(self, features: Doubles) -> Doubles:
        """Return the log-odds of rows of features, (..., F) to (...)."""
        flat = features.reshape(-1, features.shape[-1])
        out = np.empty(len(flat))
        for start in range(0, len(flat), 4096):
            rows = flat[start : start + 4096]
            node = np.repeat(self.root[None, :], len(rows), axis=0)
            each = np.arange(len(rows))[:, None]
            for _ in range(self.depth):
                goes_left = rows[each, self.feature[node]] <= self.threshold[node]
                node = np.where(goes_left, self.left[node], self.right[node])
            out[start : start + 4096] = self.baseline + self.value[node].sum(axis=1)
        return out.reshape(features.shape[:-1])


def trees_of(model: HistGradientBoostingClassifier) -> Trees:
    """Return a fitted booster as arrays; the same predictions to rounding."""
    tables = [stage[0].nodes for stage in model._predictors]  # noqa: SLF001 - scikit-learn has no public way
    sizes = np.array([len(table) for table in tables])
    root = np.cumsum(sizes) - sizes
    nodes = np.concatenate(tables)
    shift = np.repeat(root, sizes)
    leaf = nodes["is_leaf"].astype(bool)
    here = np.arange(len(nodes))
    return Trees(
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"].astype(np.float64),
        left=np.where(leaf, here, nodes["left"].astype(np.int64) + shift),
        right=np.where(leaf, here, nodes["right"].astype(np.int64) + shift),
        value=np.where(leaf, nodes["value"], 0.0),
        root=root.astype(np.int64),
        baseline=float(np.ravel(model._baseline_prediction)[0]),  # noqa: SLF001
        depth=int(max(table["depth"].max() for table in tables)),
    )


def crossed_offsets(  # noqa: PLR0913 - rows and how to fold them
    features_RF: Doubles,
    fraud_R: Bools,
    entity_R: Longs,
    others: Sequence[tuple[Doubles, Longs]],
    settings: BoostingSettings,
    *,
    num_folds: int,
    seed: int,
) -> tuple[Doubles, list[Doubles]]:
    """Return offsets by folds of entities: for the rows, and for other payments of the same entities.

    Args:
        features_RF: Rows with labels.
        fraud_R: Their labels.
        entity_R: Their entities.
        others: (features (..., F), entity of each of the first axis) of payments to predict only.
        settings: Of the booster.
        num_folds: An entity's offset comes from the booster of the other folds.
        seed: Of the folds.
    """
    entities = np.unique(entity_R)
    fold_of = np.random.default_rng(derive_seed(seed, "folds")).integers(num_folds, size=len(entities))

    def fold(entity: Longs) -> Longs:
        places: Longs = fold_of[np.searchsorted(entities, entity).clip(max=len(entities) - 1)]
        return places

    own = np.empty(len(fraud_R))
    told = [np.empty(features.shape[:-1]) for features, _ in others]
    for index in range(num_folds):
        held = fold(entity_R) == index
        trees = trees_of(fit_boosting(features_RF[~held], fraud_R[~held], settings, seed=seed))
        own[held] = trees.log_odds(features_RF[held])
        for target, (features, entity) in zip(told, others, strict=True):
            inside = fold(entity) == index
            target[inside] = trees.log_odds(features[inside])
    return own, told
