"""The baselines of `interbank.py`: models of scikit-learn, and the settings that are tried."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

Array, Setting = np.ndarray, dict[str, Any]

SPACES = {
    "logistic regression": [{"C": c} for c in (0.01, 0.1, 1.0, 10.0)],
    "boosting": [{"learning_rate": r, "max_leaf_nodes": n} for r in (0.04, 0.1) for n in (8, 24)],
    "nearest neighbours": [{"n_neighbors": n} for n in (15, 40, 100, 250)],
}
UNTUNED: dict[str, Setting] = {
    "logistic regression": {"C": 1.0},
    "boosting": {"learning_rate": 0.1, "max_leaf_nodes": 15},
}


def model(kind: str, setting: Setting) -> Any:
    """Return an unfitted model of scikit-learn."""
    if kind == "logistic regression":
        return LogisticRegression(max_iter=200, **setting)
    if kind == "boosting":
        return HistGradientBoostingClassifier(
            max_iter=100, min_samples_leaf=20, early_stopping=False, random_state=0, **setting
        )
    return KNeighborsClassifier(weights="distance", **setting)


def log_p_of(
    kind: str, setting: Setting, x: Array, y: Array, at: Array, weights: Array | None = None
) -> Array:
    """Return log-probabilities of rows by a model of scikit-learn; a class that it has not seen gets .001."""
    setting = (
        {**setting, "n_neighbors": min(setting["n_neighbors"], len(y))}
        if "n_neighbors" in setting
        else setting
    )
    fitted = model(kind, setting).fit(x, y, **({} if weights is None else {"sample_weight": weights}))
    p = np.full((len(at), 4), 1e-3)
    p[:, fitted.classes_] = np.maximum(fitted.predict_proba(at), 1e-3)
    return np.log(p / p.sum(axis=1, keepdims=True))


def average(*parts: Array) -> Array:
    """Return the log of the mean of probabilities."""
    return np.log(np.mean([np.exp(one) for one in parts], axis=0))


def loss(log_p: Array, label: Array) -> float:
    """Return the log loss, nats."""
    return float(-log_p[np.arange(len(label)), label].mean())
