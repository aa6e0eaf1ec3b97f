"""What holds for everything that fulfils `Ranker`. A new ranker joins by one line in `RANKERS`."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from warmprompt.baselines import BASELINES, baseline
from warmprompt.data.dataset import keep_events, take_users
from warmprompt.types import Ranker, Support

VECTORS = np.random.default_rng(1).normal(size=(45, 6)).astype(np.float32)
# What is trained is trained for two epochs: the contract is about form, not about quality.
SMALL = {
    "ials": {"num_factors": 8},
    "blend": {"members": {"ials": {"num_factors": 8}}, "num_draws": 2},
    "blend-tfidf": {"members": {"ials": {"num_factors": 8}}, "num_draws": 2},
    "ease-ials": {"members": {"ials": {"num_factors": 8}}, "num_draws": 2},
    "content-vectors": {"vectors_VX": VECTORS},
    "multvae": {"num_hidden": 16, "num_latent": 8, "num_epochs": 2},
    "lightfm": {"width": 8, "num_epochs": 2},
    "sasrec": {"width": 8, "num_negatives": 16, "num_epochs": 2},
    "melu": {"width": 8, "layer_width": 8, "num_epochs": 2},
    "set-encoder": {"num_factors": 8, "num_epochs": 2},
    "lora": {"backbone": "tiny", "num_layers": 1, "num_factors": 8, "num_epochs": 1},
}
RANKERS = {name: baseline(name, **SMALL.get(name, {})) for name in BASELINES}
BY_POSITION = {"position-popularity", "transitions", "ordered-ridge", "session-knn", "blend-in-time"}
IN_TIME = {name for name in BASELINES if name.endswith("in-time")}
SEQUENTIAL = {"markov", "sasrec"} | IN_TIME | BY_POSITION - {"position-popularity"}


@pytest.fixture(scope="module", params=RANKERS)
def factory(request):
    """Return a function that builds the unfitted ranker."""
    return RANKERS[request.param]


@pytest.fixture(scope="module")
def data(worlds):
    """Return random histories with attributes, of which items 40 and above have no training event."""
    rng = np.random.default_rng(0)
    histories = [rng.permutation(40)[: rng.integers(5, 20)].tolist() for _ in range(50)]
    ages = [None if user == 7 else str(18 + user) for user in range(50)]
    attributes = {"age": ages, "sex": ["m" if user % 3 else "f" for user in range(50)]}
    return worlds.make_dataset(histories, num_items=45, attributes=attributes)


@pytest.fixture(scope="module")
def fitted(factory, data):
    """Return the ranker, fitted."""
    return _fit(factory, data)


def _fit(factory, data, *, seed=0):
    return factory().fit(take_users(data, np.arange(40)), take_users(data, np.arange(40, 50)), seed=seed)


def _support(items, *, rating=np.nan, attributes=None):
    items = np.array(items, dtype=np.int32)
    ratings = np.full(len(items), rating, dtype=np.float32)
    return Support(user="new", items_K=items, ratings_K=ratings, attributes=attributes or {})


SUPPORTS = [
    _support([]),
    _support([3]),
    _support([1, 2, 3, 4, 5], rating=4.0, attributes={"age": "30", "sex": "f"}),
    _support([44, 43]),
    _support([5, 44], attributes={"age": "unknown", "planet": "mars"}),
    _support(list(range(45))),
]


def test_it_is_a_ranker(fitted):
    assert isinstance(fitted, Ranker)
    assert isinstance(fitted.name, str)
    assert fitted.num_parameters >= 0


def test_scores_are_finite_float32_and_cover_every_item(fitted):
    scores = fitted.score(SUPPORTS)
    assert scores.shape == (len(SUPPORTS), 45)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()


def test_no_users_give_no_rows(fitted):
    assert fitted.score([]).shape == (0, 45)


def test_a_users_scores_do_not_depend_on_the_batch(fitted):
    together = fitted.score(SUPPORTS)
    reverse = fitted.score(SUPPORTS[::-1])[::-1]
    alone = np.concatenate([fitted.score([support]) for support in SUPPORTS])
    # Matrix products of other sizes may add in another order: a few float32 roundings.
    scale = float(np.abs(together).max())
    assert reverse == pytest.approx(together, rel=0, abs=1e-5 * scale)
    assert alone == pytest.approx(together, rel=0, abs=1e-5 * scale)


def test_the_order_of_events_matters_to_models_of_sequences_alone(fitted):
    one, other = fitted.score([_support([1, 2, 9]), _support([9, 1, 2])])
    same = np.abs(one - other).max() <= 1e-5 * float(np.abs(one).max())
    assert same == (fitted.name not in SEQUENTIAL)


def test_one_seed_gives_one_result_bit_for_bit(factory, data):
    one, other = (_fit(factory, data, seed=3).score(SUPPORTS) for _ in range(2))
    assert (one == other).all()


def test_fitting_returns_a_new_ranker_and_leaves_the_old_one_unfitted(factory, data):
    ranker = factory()
    before = {field.name: getattr(ranker, field.name) for field in fields(ranker)}
    assert ranker.fit(take_users(data, np.arange(40)), data, seed=0) is not ranker
    assert {field.name: getattr(ranker, field.name) for field in fields(ranker)} == before


def test_scoring_twice_gives_the_same_and_writes_to_no_input(fitted):
    supports = [_support([1, 2], rating=2.0)]
    items, ratings = supports[0].items_K.copy(), supports[0].ratings_K.copy()
    first = fitted.score(supports)
    kept = first.copy()
    first[:] = -7
    assert (fitted.score(supports) == kept).all()
    assert (supports[0].items_K == items).all()
    assert (supports[0].ratings_K == ratings).all()


def test_fitting_writes_to_no_input(factory, data):
    training = take_users(data, np.arange(40))
    before = (training.interactions.items.copy(), training.interactions.offsets.copy())
    factory().fit(training, data, seed=0).score(SUPPORTS)
    assert (training.interactions.items == before[0]).all()
    assert (training.interactions.offsets == before[1]).all()


def test_without_history_and_attributes_the_popular_come_first(fitted, data):
    counts = np.bincount(take_users(data, np.arange(40)).interactions.items, minlength=45)
    order = np.argsort(-fitted.score([_support([])])[0], kind="stable")
    # What users begin with is known to some, and is not what is popular with all.
    assert (np.diff(counts[order]) <= 0).all() == (fitted.name not in BY_POSITION)


def test_training_users_without_events_are_fine(factory, data):
    rows = np.arange(len(data.interactions)) >= data.interactions.offsets[5]
    hollow = keep_events(data, rows)  # the first five users lose all events
    scores = _fit(factory, hollow).score(SUPPORTS)
    assert np.isfinite(scores).all()
    assert (scores.std(axis=1) > 0).all()


def test_repeated_events_count_once(fitted):
    once, again = fitted.score([_support([1, 2])]), fitted.score([_support([1, 2, 2])])
    assert (once == again).all()
