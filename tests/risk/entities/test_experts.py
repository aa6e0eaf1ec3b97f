"""Experts: regression and boosting against scikit-learn, weights and peers against planted answers."""

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from warmprompt.risk.entities.experts import (
    BoostingExpert,
    fit_boosting_expert,
    fit_logistic,
    fit_mixture,
    fit_peers,
    mix,
    peer_parts,
)


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 5))
    weights = np.array([[2, 0, -2], [0, 1, 0], [0, 0, 0], [1, -1, 0], [0, 0, 0]])
    y = (x @ weights + rng.gumbel(size=(600, 3))).argmax(axis=1)
    return x, y


def test_logistic_regression_agrees_with_scikit_learn(rows):
    x, y = rows
    ours = fit_logistic(x, y, num_classes=3, l2=4.0)
    # A column of 2 whose weight has penalty 4 is a bias with penalty 1.
    with_bias = np.hstack([x, np.full((len(x), 1), 2.0)])
    theirs = LogisticRegression(C=1 / 4, fit_intercept=False, tol=1e-10, max_iter=2000).fit(with_bias, y)
    np.testing.assert_allclose(np.exp(ours.log_p(x)), theirs.predict_proba(with_bias), atol=2e-3)


def test_an_offset_that_is_right_leaves_little_to_learn(rows):
    x, y = rows
    offset = fit_logistic(x, y, num_classes=3).log_p(x)
    around = fit_logistic(np.zeros((600, 1)), y, num_classes=3, offset_NC=offset)
    np.testing.assert_allclose(around.log_p(np.zeros((600, 1)), offset), offset, atol=2e-2)


@pytest.mark.parametrize("classes", [(0, 2), (0, 1, 2), (1,)])
def test_boosting_as_arrays_agrees_with_scikit_learn(rows, classes):
    x, y = rows
    keep = np.isin(y, classes)
    ours = np.exp(fit_boosting_expert(x[keep], y[keep], num_classes=4, seed=0).log_p(x))
    np.testing.assert_allclose(ours.sum(axis=1), 1)
    unseen = [c for c in range(4) if c not in classes]
    assert (ours[:, unseen] < 1e-3).all()
    if len(classes) > 1:
        theirs = HistGradientBoostingClassifier(
            learning_rate=0.08,
            max_iter=100,
            max_leaf_nodes=16,
            min_samples_leaf=max(5, keep.sum() // 20),
            l2_regularization=1.0,
            early_stopping=False,
        ).fit(x[keep], y[keep])
        np.testing.assert_allclose(ours[:, classes], theirs.predict_proba(x), atol=4e-3)
    assert isinstance(fit_boosting_expert(x[keep], y[keep], num_classes=4, seed=0), BoostingExpert)


def test_weights_find_the_expert_that_is_right(rows):
    x, y = rows
    right = fit_logistic(x, y, num_classes=3).log_p(x)
    noise = log_softmax(np.random.default_rng(1).normal(size=right.shape), axis=1)
    weights = fit_mixture(np.stack([right, noise]), y)
    assert weights[0] > 0.9
    assert weights[1] < 0.1

    def loss(one, other):
        log_p = mix(np.array([one, other]), np.stack([right, noise]))
        return -log_p[np.arange(600), y].sum() + 5 * ((one - 0.5) ** 2 + (other - 0.5) ** 2)

    grid = [loss(a, b) for a in np.linspace(0, 2, 41) for b in np.linspace(0, 1, 21)]
    assert loss(*weights) <= min(grid) + 1e-3


def test_few_peers_correct_a_population_that_drifted(rows):
    x, y = rows
    # The population has learned what a class meant before: classes 0 and 2 have changed places since.
    population = fit_logistic(x[:300], y[:300], num_classes=3).log_p(x)[:, ::-1]
    peers, judged = np.arange(300, 360), np.arange(360, 600)
    parts = peer_parts(
        fit_peers(x[peers], y[peers], population[peers], seed=0), x[judged], population[judged]
    )
    losses = [-one[np.arange(240), y[judged]].mean() for one in parts]
    assert losses[1] < 0.6 * losses[0]
    assert losses[1] < np.log(3)
    np.testing.assert_array_equal(parts[0], population[judged])
