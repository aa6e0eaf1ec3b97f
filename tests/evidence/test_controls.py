"""The controls find a planted taste in a sentence, and nothing in another's or in random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.errors import BadInputError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.evidence.controls import CONTROLS, SentenceRidge

NDCG = METRICS.index("NDCG@10")


@pytest.fixture(scope="module")
def data():
    knobs = Knobs(share_two_tastes=0.0, p_inside=0.95, popularity_skew=0.0, min_events=24, max_events=32)
    return planted_world(num_users=300, num_items=160, num_tastes=4, seed=0, knobs=knobs).dataset


def value(ranker, task):
    return np.mean(list(score_cases(ranker, task, task.cases[0], label="x").values()), axis=0)[NDCG]


def test_own_sentences_rank_above_others(data):
    found = {}
    for kind in ("", "known", "genres", "unseen-shuffled"):
        task = build_task(data, ProtocolSettings(ks=(0,), sentences=kind), seed=0)
        tfidf = CONTROLS["sentence-tfidf"]().fit(task.training, task.validation, seed=0)
        found[kind] = value(tfidf, task)
    popular = value(baseline("toppop")().fit(task.training, task.validation, seed=0), task)
    # One taste of four holds nearly all of a user's items.
    assert found["known"] > 2 * popular
    assert found["genres"] > 2 * popular
    assert found[""] == pytest.approx(popular)
    assert found["unseen-shuffled"] < 1.5 * popular


def test_named_genres_rank_their_items(data):
    task = build_task(data, ProtocolSettings(ks=(0,), sentences="known"), seed=0)
    ranker = CONTROLS["sentence-genres"]().fit(task.training, task.validation, seed=0)
    popular = value(baseline("toppop")().fit(task.training, task.validation, seed=0), task)
    assert value(ranker, task) > 2 * popular


def test_random_features_of_unseen_texts_are_uninformative(data):
    task = build_task(data, ProtocolSettings(ks=(0,), sentences="unseen"), seed=0)
    ranker = CONTROLS["sentence-random"]().fit(task.training, task.validation, seed=0)
    popular = value(baseline("toppop")().fit(task.training, task.validation, seed=0), task)
    assert value(ranker, task) < 1.5 * popular
    assert ranker.num_parameters == 65 * data.num_items


def test_map_minimises_its_penalised_squares(data):
    """Ridge by scikit-learn on the same features and targets."""
    from sklearn.linear_model import Ridge

    from warmprompt.data.dataset import popularity
    from warmprompt.evidence.controls import _sentences

    task = build_task(data, ProtocolSettings(ks=(0,)), seed=0)
    ranker = CONTROLS["sentence-tfidf"]().fit(task.training, task.validation, seed=0)
    texts, shares = _sentences(task.training, seed=0)
    x = ranker.encode(texts)
    residual = shares.toarray() - popularity(task.training) / len(task.training.interactions)
    expected = Ridge(alpha=ranker.l2, fit_intercept=False, solver="cholesky").fit(x, residual).coef_.T
    np.testing.assert_allclose(ranker.map_XV, expected, atol=1e-9)


def test_unreadable_inputs_are_refused(data, worlds_without_genres):
    with pytest.raises(BadInputError, match="features"):
        SentenceRidge(features="tea leaves").fit(data, data, seed=0)
    with pytest.raises(BadInputError, match="no genres"):
        CONTROLS["sentence-tfidf"]().fit(worlds_without_genres, worlds_without_genres, seed=0)


@pytest.fixture
def worlds_without_genres(data):
    from dataclasses import replace

    return replace(data, items=data.items.select("title"))
