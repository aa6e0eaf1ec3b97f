"""Fitted trees as arrays: no pickle to store them, and one row costs microseconds.

R is rows, F features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

from warmprompt.risk.compiling import compiled
from warmprompt.risk.profile.payments import Bools, Doubles, Longs


@dataclass(frozen=True, kw_only=True, eq=False)
class Trees:
    """Trees whose leaves are added up.

    Attributes:
        feature: Per node, the feature it splits on.
        threshold: Per node; values at most this go left.
        left: Per node, position of the left child; itself for a leaf.
        right: As `left`.
        value: Per node, what the leaf adds; 0 inside.
        root: Per tree, the position of its root.
        baseline: The sum before the first tree.
    """

    feature: Longs
    threshold: Doubles
    left: Longs
    right: Longs
    value: Doubles
    root: Longs
    baseline: float

    def total(self, features: Doubles) -> Doubles:
        """Return baseline plus leaves for rows of features, (..., F) to (...); row by row the same bits."""
        flat = np.ascontiguousarray(features.reshape(-1, features.shape[-1]), dtype=np.float64)
        out = np.full(len(flat), self.baseline)
        _add_leaves(flat, self.feature, self.threshold, self.left, self.right, self.value, self.root, out)
        return out.reshape(features.shape[:-1])


def trees_of_boosting(model: HistGradientBoostingClassifier, index: int = 0) -> Trees:
    """Return a fitted booster as arrays; totals are its log-odds to rounding, of many classes one's logit.

    Args:
        model: Fitted.
        index: Of the class, where there are more than two.
    """
    tables = [stage[index].nodes for stage in model._predictors]  # noqa: SLF001 - scikit-learn has no public way
    nodes = np.concatenate(tables)
    return _joined(
        sizes=[len(table) for table in tables],
        leaf=nodes["is_leaf"].astype(np.bool_),
        feature=nodes["feature_idx"],
        threshold=nodes["num_threshold"],
        left=nodes["left"],
        right=nodes["right"],
        value=nodes["value"],
        baseline=float(np.ravel(model._baseline_prediction)[index]),  # noqa: SLF001
    )


def trees_of_forest(model: RandomForestClassifier) -> Trees:
    """Return a fitted forest of two classes as arrays; totals are its probabilities of the second class.

    scikit-learn's trees compare features rounded to 32 bits; give them such.
    """
    tables = [tree.tree_ for tree in model.estimators_]
    share = [table.value[:, 0, 1] / table.value[:, 0].sum(axis=1) for table in tables]
    return _joined(
        sizes=[table.node_count for table in tables],
        leaf=np.concatenate([table.children_left for table in tables]) < 0,
        feature=np.concatenate([table.feature for table in tables]),
        threshold=np.concatenate([table.threshold for table in tables]),
        left=np.concatenate([table.children_left for table in tables]),
        right=np.concatenate([table.children_right for table in tables]),
        value=np.concatenate(share) / len(tables),
        baseline=0.0,
    )


def _joined(  # noqa: PLR0913 - the columns of a table of nodes
    *,
    sizes: list[int],
    leaf: Bools,
    feature: Longs,
    threshold: Doubles,
    left: Longs,
    right: Longs,
    value: Doubles,
    baseline: float,
) -> Trees:
    """Return tables of nodes as one: children, numbered within their tree, become indices of the whole."""
    root = np.cumsum(sizes) - sizes
    shift = np.repeat(root, sizes)
    here = np.arange(len(leaf))
    return Trees(
        feature=np.where(leaf, 0, feature).astype(np.int64),
        threshold=np.where(leaf, 0.0, threshold).astype(np.float64),
        left=np.where(leaf, here, left.astype(np.int64) + shift),
        right=np.where(leaf, here, right.astype(np.int64) + shift),
        value=np.where(leaf, value, 0.0).astype(np.float64),
        root=root.astype(np.int64),
        baseline=baseline,
    )


@compiled
def _add_leaves(  # noqa: PLR0913, PLR0917 - numba takes arrays, not objects
    rows: Doubles,
    feature: Longs,
    threshold: Doubles,
    left: Longs,
    right: Longs,
    value: Doubles,
    root: Longs,
    out: Doubles,
) -> None:
    for row in range(len(rows)):
        for tree in range(len(root)):
            node = root[tree]
            while left[node] != node:
                node = left[node] if rows[row, feature[node]] <= threshold[node] else right[node]
            out[row] += value[node]
