"""New items are put where their texts say, and nowhere where the texts are random."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.data.synthetic import Knobs, planted_world
from warmprompt.errors import BadInputError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import ProtocolSettings, build_task
from warmprompt.evaluation.runner import score_cases
from warmprompt.evidence.controls import CONTROLS
from warmprompt.evidence.item_controls import ItemRidge, _predicted
from warmprompt.types import Support

NDCG = METRICS.index("NDCG@10")
SIZES = {"num_factors": 8, "regularization": 5.0, "alpha": 10.0}


@pytest.fixture(scope="module")
def task():
    knobs = Knobs(share_two_tastes=0.0, p_inside=0.95, popularity_skew=0.0, min_events=24, max_events=32)
    world = planted_world(num_users=300, num_items=480, num_tastes=4, seed=0, knobs=knobs).dataset
    return build_task(world, ProtocolSettings(protocol="cold-item", reading="new-only", ks=(5,)), seed=0)


def value(ranker, task):
    return np.mean(list(score_cases(ranker, task, task.cases[5], label="x").values()), axis=0)[NDCG]


def test_genres_and_words_place_new_items(task):
    found = {
        name: value(CONTROLS[name](**SIZES).fit(task.training, task.validation, seed=0), task)
        for name in ("item-genres", "item-tfidf", "item-random")
    }
    popular = value(baseline("toppop")().fit(task.training, task.validation, seed=0), task)
    assert found["item-genres"] > 1.5 * max(found["item-random"], popular)
    assert found["item-tfidf"] > 1.5 * max(found["item-random"], popular)


def test_new_users_get_predicted_popularity(task):
    ranker = CONTROLS["item-genres"](**SIZES).fit(task.training, task.validation, seed=0)
    nobody = Support(user="n", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32))
    someone = task.cases[5][0].support
    scores = ranker.score([nobody, someone])
    order = np.argsort(-scores[0], kind="stable")
    assert (np.diff(ranker.popular_V[order]) <= 1e-6).all()
    np.testing.assert_allclose(scores[1], ranker.score([someone])[0], rtol=1e-4)


def test_known_items_keep_their_vectors(task):
    ranker = CONTROLS["item-genres"](**SIZES).fit(task.training, task.validation, seed=0)
    warm = np.bincount(task.training.interactions.items, minlength=task.training.num_items) > 0
    np.testing.assert_array_equal(ranker.vectors_VD[warm], ranker.model.item_factors[warm])
    assert not ranker.model.item_factors[~warm].any()
    assert ranker.vectors_VD[~warm].any()
    assert ranker.num_parameters == 8 * task.training.num_items


def test_left_out_items_do_not_move_predictions():
    rng = np.random.default_rng(0)
    inputs_VX, own_VD = rng.standard_normal((40, 5)), rng.standard_normal((40, 3))
    known_V = np.arange(40) < 30
    changed_VD = np.where(known_V[:, None], own_VD, 99.0)
    expected = _predicted(inputs_VX, own_VD, known_V, 2.0)
    np.testing.assert_array_equal(_predicted(inputs_VX, changed_VD, known_V, 2.0), expected)
    assert np.abs(_predicted(inputs_VX, changed_VD, ~known_V, 2.0) - expected).max() > 10


def test_unknown_features_are_refused(task):
    with pytest.raises(BadInputError, match="Choose vectors, shuffled, mpnet-base, tfidf, genres or random"):
        ItemRidge(features="words", **SIZES).fit(task.training, task.validation, seed=0)
