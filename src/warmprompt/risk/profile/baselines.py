"""The models to beat, on the handbook's fifteen features of the same visible history, tuned the same way.

Every baseline is fitted to the training rows, once per setting of its written search space; the setting
with the highest average precision on the validation entities' rows is kept. R is rows, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from warmprompt.risk.profile.features import HANDBOOK_NAMES, NUM_HANDBOOK
from warmprompt.risk.profile.payments import Bools, Doubles
from warmprompt.risk.profile.population import (
    BoostingSettings,
    ForestSettings,
    fit_boosting,
    fit_forest,
    with_most_genuine,
)
from warmprompt.rng import derive

Scorer = Callable[[Doubles], Doubles]
Setting = Mapping[str, Any]
Fit = Callable[[Doubles, Bools, Setting, int], Scorer]

_AMOUNT = HANDBOOK_NAMES.index("amount")
_COUNT_1D = HANDBOOK_NAMES.index("own_count_1d")
_MEAN_30D = HANDBOOK_NAMES.index("own_mean_30d")


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """One model to beat.

    Attributes:
        name: Row label.
        fit: From rows, labels, a setting and a seed to a scorer of rows; higher is riskier.
        space: Values per setting; every combination is tried.
        most_genuine: Genuine rows that are kept, drawn at random; all frauds stay.
    """

    name: str
    fit: Fit
    space: Mapping[str, tuple[Any, ...]]
    most_genuine: int | None = None

    def settings(self) -> list[dict[str, Any]]:
        """Return every combination of the search space."""
        return [dict(zip(self.space, values, strict=True)) for values in product(*self.space.values())]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tuned:
    """A baseline with the setting that validation chose."""

    name: str
    score: Scorer
    setting: Setting
    validation: float


def fit_best(
    baseline: Baseline, training: tuple[Doubles, Bools], validation: tuple[Doubles, Bools], *, seed: int
) -> Tuned:
    """Fit every setting and keep the best on validation rows; the first of equals."""
    features, fraud = training[0][:, :NUM_HANDBOOK], training[1]
    kept = with_most_genuine(fraud, baseline.most_genuine, seed=seed)
    best: Tuned | None = None
    for setting in baseline.settings():
        scorer = baseline.fit(features[kept], fraud[kept], setting, seed)
        value = float(average_precision_score(validation[1], scorer(validation[0][:, :NUM_HANDBOOK])))
        if best is None or value > best.validation:
            best = Tuned(name=baseline.name, score=_narrow(scorer), setting=setting, validation=value)
    assert best is not None
    return best


def _narrow(scorer: Scorer) -> Scorer:
    return lambda rows: scorer(rows[:, :NUM_HANDBOOK])


def _prior(_x: Doubles, fraud: Bools, _setting: Setting, _seed: int) -> Scorer:
    return lambda rows: np.full(len(rows), float(fraud.mean()))


def _rules(_x: Doubles, _fraud: Bools, setting: Setting, _seed: int) -> Scorer:
    """Points for a large amount, for one far above the own mean, and for many payments on a day."""

    def score(rows: Doubles) -> Doubles:
        amount = np.log1p(rows[:, _AMOUNT])
        above = amount - np.log1p(rows[:, _MEAN_30D])
        points: Doubles = amount + setting["ratio"] * above + setting["count"] * np.log(rows[:, _COUNT_1D])
        return points

    return score


def _logistic(x: Doubles, fraud: Bools, setting: Setting, _seed: int) -> Scorer:
    model = make_pipeline(
        FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression(C=setting["C"], max_iter=500)
    ).fit(x, fraud)
    return lambda rows: np.asarray(model.decision_function(rows))


def _forest(x: Doubles, fraud: Bools, setting: Setting, seed: int) -> Scorer:
    model = fit_forest(x, fraud, ForestSettings(**setting), seed=seed)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1])


def _boosting(x: Doubles, fraud: Bools, setting: Setting, seed: int) -> Scorer:
    model = fit_boosting(x, fraud, BoostingSettings(**setting), seed=seed)
    return lambda rows: np.asarray(model.decision_function(rows))


def _neighbours(x: Doubles, fraud: Bools, setting: Setting, _seed: int) -> Scorer:
    model = make_pipeline(
        FunctionTransformer(np.log1p),
        StandardScaler(),
        KNeighborsClassifier(n_neighbors=setting["n"], weights="distance"),
    ).fit(x, fraud)
    return lambda rows: np.asarray(model.predict_proba(rows)[:, 1])


def _online(x: Doubles, fraud: Bools, setting: Setting, seed: int) -> Scorer:
    """One pass over the rows in random order, a row at a time, on standardised logarithms."""
    from river import linear_model, optim

    logs = np.log1p(x)
    mean, deviation = logs.mean(axis=0), logs.std(axis=0) + 1e-9
    model = linear_model.LogisticRegression(optimizer=optim.SGD(setting["rate"]), l2=setting["l2"])
    scaled = (logs - mean) / deviation
    for row in derive(seed, "online").permutation(len(x)):
        model.learn_one(dict(enumerate(scaled[row].tolist())), bool(fraud[row]))

    def score(rows: Doubles) -> Doubles:
        weights = np.array([model.weights[column] for column in range(rows.shape[1])])
        linear: Doubles = ((np.log1p(rows) - mean) / deviation) @ weights + model.intercept
        return linear

    return score


BASELINES: tuple[Baseline, ...] = (
    Baseline(name="population prior", fit=_prior, space={}),
    Baseline(name="rules", fit=_rules, space={"ratio": (0.0, 0.25, 0.5, 1.0), "count": (0.0, 0.25, 1.0)}),
    Baseline(name="logistic regression", fit=_logistic, space={"C": (0.01, 0.1, 1.0)}, most_genuine=20_000),
    Baseline(
        name="online logistic regression",
        fit=_online,
        space={"rate": (0.003, 0.03), "l2": (0.0,)},
        most_genuine=8_000,
    ),
    Baseline(name="nearest neighbours", fit=_neighbours, space={"n": (15, 50)}, most_genuine=2_000),
    Baseline(
        name="random forest",
        fit=_forest,
        space={"min_leaf": (3, 10), "max_features": (0.25, 0.5), "most_genuine": (20_000,)},
    ),
    Baseline(
        name="gradient boosting",
        fit=_boosting,
        space={
            "learning_rate": (0.04, 0.08),
            "num_leaves": (8, 16),
            "num_trees": (120,),
        },
    ),
)
