"""Experts on classes, and their mixture: weighted log-probabilities, normalised again.

    log p(c) = sum over experts of weight * log p_expert(c), minus the log of the sum over classes

N is rows, F features, C classes, X experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier

from warmprompt.risk.profile.payments import Doubles, Longs
from warmprompt.risk.profile.trees import Trees, trees_of_boosting
from warmprompt.rng import derive, derive_seed

WINDOWS = (1, 4, 10_000)
"""Each kind of expert is fitted to the last period, to the last four, and to all."""
NUM_EXPERTS = 2 * len(WINDOWS)
_MOST_ROWS = 20_000
# A class that an expert has not seen keeps this log-probability.
_LEAST_LOG_P = -7.0
_L2, _L2_BIAS, _L2_WEIGHTS = 10.0, 1.0, 10.0
_LEAST_LEAF, _MOST_LEAF, _NUM_TREES = 5, 50, 100


@dataclass(frozen=True, kw_only=True, eq=False)
class LogisticExpert:
    """Multinomial logistic regression, around given log-probabilities or none."""

    weights_FC: Doubles
    bias_C: Doubles

    def log_p(self, features_NF: Doubles, offset_NC: Doubles | float = 0.0) -> Doubles:
        """Return log-probabilities, (N, C)."""
        return _normalised(offset_NC + features_NF @ self.weights_FC + self.bias_C)


@dataclass(frozen=True, kw_only=True, eq=False)
class BoostingExpert:
    """Gradient boosting as arrays.

    Attributes:
        trees: One set per class seen, whose totals are its logit; of two classes, that of the second.
        classes: The classes seen.
        num_classes: C.
    """

    trees: tuple[Trees, ...]
    classes: tuple[int, ...]
    num_classes: int

    def log_p(self, features_NF: Doubles) -> Doubles:
        """Return log-probabilities, (N, C)."""
        logits_NC = np.full((len(features_NF), self.num_classes), -np.inf)
        logits_NC[:, list(self.classes)] = 0.0
        for one, trees in zip(self.classes[len(self.classes) - len(self.trees) :], self.trees, strict=True):
            logits_NC[:, one] = trees.total(features_NF)
        return _normalised(np.maximum(_normalised(logits_NC), _LEAST_LOG_P))


@dataclass(frozen=True, kw_only=True, eq=False)
class Experts:
    """Experts fitted to labelled rows of the past, one of each kind per window of `WINDOWS`."""

    logistic: tuple[LogisticExpert, ...]
    boosting: tuple[BoostingExpert, ...]

    def parts(self, features_NF: Doubles) -> Doubles:
        """Return the log-probabilities of all experts, (X, N, C)."""
        linear = [one.log_p(features_NF) for one in self.logistic]
        return np.stack([*linear, *(one.log_p(features_NF) for one in self.boosting)])


def fit_class_experts(
    features_NF: Doubles, label_N: Longs, period_N: Longs, *, num_classes: int, seed: int
) -> Experts:
    """Return experts fitted to labelled rows.

    Args:
        features_NF: Rows.
        label_N: Their classes.
        period_N: Their periods.
        num_classes: C.
        seed: Of the draw where a window has more than 20,000 rows.
    """
    logistic, boosting = [], []
    for window in WINDOWS:
        rows = np.flatnonzero(period_N > period_N.max() - window)
        rows = np.sort(derive(seed, "rows", window).permutation(rows)[:_MOST_ROWS])
        x_NF, y_N = features_NF[rows], label_N[rows]
        logistic.append(fit_logistic(x_NF, y_N, num_classes=num_classes))
        boosting.append(fit_boosting_expert(x_NF, y_N, num_classes=num_classes, seed=seed))
    return Experts(logistic=tuple(logistic), boosting=tuple(boosting))


def fit_peers(
    features_MF: Doubles, label_M: Longs, population_MC: Doubles, *, seed: int
) -> tuple[LogisticExpert, BoostingExpert]:
    """Return experts fitted to labelled peers of one period.

    The first is a logistic regression around the population's log-probabilities, which few peers correct a
    little; the second knows the peers alone.
    """
    around = fit_logistic(
        np.hstack([population_MC, features_MF]),
        label_M,
        num_classes=population_MC.shape[1],
        l2=3 * _L2,
        offset_NC=population_MC,
    )
    return around, fit_boosting_expert(features_MF, label_M, num_classes=population_MC.shape[1], seed=seed)


def peer_parts(
    peers: tuple[LogisticExpert, BoostingExpert], features_NF: Doubles, population_NC: Doubles
) -> Doubles:
    """Return the log-probabilities of the population, around it, and of the peers alone, (3, N, C)."""
    around, alone = peers
    both_NF = np.hstack([population_NC, features_NF])
    return np.stack([population_NC, around.log_p(both_NF, population_NC), alone.log_p(features_NF)])


def fit_logistic(
    features_NF: Doubles,
    label_N: Longs,
    *,
    num_classes: int,
    l2: float = _L2,
    offset_NC: Doubles | None = None,
) -> LogisticExpert:
    """Return the regression with the least sum of cross-entropies plus l2 / 2 of squared weights.

    Args:
        features_NF: Rows.
        label_N: Their classes.
        num_classes: C.
        l2: Penalty on weights, as 1 / C of scikit-learn; biases have a penalty of 1.
        offset_NC: Log-probabilities to begin from; weights then say what differs from them.
    """
    num_features = features_NF.shape[1]
    truth_NC = np.eye(num_classes)[label_N]
    base_NC = np.zeros_like(truth_NC) if offset_NC is None else offset_NC

    def objective(flat: Doubles) -> tuple[float, Doubles]:
        bias_C, weights_FC = flat[:num_classes], flat[num_classes:].reshape(num_features, num_classes)
        log_p_NC = log_softmax(base_NC + features_NF @ weights_FC + bias_C, axis=1)
        gap_NC = np.exp(log_p_NC) - truth_NC
        loss = (
            -(log_p_NC * truth_NC).sum() + l2 / 2 * (weights_FC**2).sum() + _L2_BIAS / 2 * (bias_C**2).sum()
        )
        slope_FC = features_NF.T @ gap_NC + l2 * weights_FC
        return float(loss), np.concatenate([gap_NC.sum(axis=0) + _L2_BIAS * bias_C, slope_FC.ravel()])

    begin = np.zeros(num_classes * (num_features + 1))
    found = minimize(objective, begin, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    weights_FC = found[num_classes:].reshape(num_features, num_classes)
    return LogisticExpert(weights_FC=weights_FC, bias_C=found[:num_classes])


def fit_boosting_expert(
    features_NF: Doubles, label_N: Longs, *, num_classes: int, seed: int
) -> BoostingExpert:
    """Return gradient boosting; of rows of a single class, that class alone.

    Source: scikit-learn, after Ke et al. 2017 (LightGBM).
    """
    classes = tuple(np.unique(label_N).tolist())
    if len(classes) == 1:
        return BoostingExpert(trees=(), classes=classes, num_classes=num_classes)
    model = HistGradientBoostingClassifier(
        learning_rate=0.08,
        max_iter=_NUM_TREES,
        max_leaf_nodes=16,
        min_samples_leaf=int(np.clip(len(label_N) // 20, _LEAST_LEAF, _MOST_LEAF)),
        l2_regularization=1.0,
        early_stopping=False,
        random_state=derive_seed(seed, "boosting") % 2**32,
    ).fit(features_NF, label_N)
    sets = 1 if len(classes) == 2 else len(classes)
    trees = tuple(trees_of_boosting(model, position) for position in range(sets))
    return BoostingExpert(trees=trees, classes=classes, num_classes=num_classes)


def mix(weights_X: Doubles, parts_XNC: Doubles) -> Doubles:
    """Return the weighted sum of experts' log-probabilities, normalised, (N, C)."""
    return _normalised(np.tensordot(weights_X, parts_XNC, axes=1))


def fit_mixture(parts_XNC: Doubles, label_N: Longs) -> Doubles:
    """Return weights of at least 0 with the least cross-entropy, pulled a little to equal ones, (X,)."""
    equal, rows = 1 / len(parts_XNC), np.arange(len(label_N))

    def objective(weights_X: Doubles) -> tuple[float, Doubles]:
        log_p_NC = mix(weights_X, parts_XNC)
        expected_XN = (parts_XNC * np.exp(log_p_NC)).sum(axis=2)
        slope_X = (expected_XN - parts_XNC[:, rows, label_N]).sum(axis=1) + _L2_WEIGHTS * (weights_X - equal)
        loss = -log_p_NC[rows, label_N].sum() + _L2_WEIGHTS / 2 * ((weights_X - equal) ** 2).sum()
        return float(loss), slope_X

    begin, bounds = np.full(len(parts_XNC), equal), [(0.0, None)] * len(parts_XNC)
    weights_X: Doubles = minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds).x
    return weights_X


def _normalised(logits_NC: Doubles) -> Doubles:
    return np.asarray(log_softmax(logits_NC, axis=1))
