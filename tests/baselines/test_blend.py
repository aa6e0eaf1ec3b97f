"""Blends against their members, and the search of weights against a plant."""

from __future__ import annotations

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.baselines.blend import Blend, standardised_scores
from warmprompt.data.dataset import take_users
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Support


@pytest.fixture(scope="module")
def views(worlds):
    """Return training and validation users who stay within one half of the items."""
    data = worlds.two_tastes(0)
    return take_users(data, np.arange(110)), take_users(data, np.arange(110, 150))


def _support(items):
    ratings = np.full(len(items), np.nan, dtype=np.float32)
    return Support(user="new", items_K=np.array(items, dtype=np.int32), ratings_K=ratings)


SUPPORTS = [_support([1]), _support([2, 5, 9]), _support(list(range(30, 42)))]


def _order(scores, count=15):
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


@pytest.mark.parametrize("chosen", [0, 1])
def test_weights_of_one_and_zero_rank_like_the_single_model(views, chosen):
    members = (baseline("userknn"), baseline("ease"))
    weights = dict.fromkeys((1, 5, 20), tuple(float(chosen == member) for member in (0, 1)))
    blended = Blend(members=members, weights=weights).fit(*views, seed=0)
    alone = members[chosen]().fit(*views, seed=0)
    # Both break ties by popularity, scaled to their own scores: only what differs by more is compared.
    scores = alone.score(SUPPORTS)
    found = np.take_along_axis(scores, _order(blended.score(SUPPORTS)), axis=1)
    expected = np.take_along_axis(scores, _order(scores), axis=1)
    assert found == pytest.approx(expected, abs=1e-5 * float(np.abs(scores).max()))


def test_scores_are_the_weighted_sums_of_standard_scores(views):
    members = (baseline("itemknn"), baseline("ease"))
    blended = Blend(members=members, weights={3: (0.25, 0.75)}).fit(*views, seed=0)
    candidates = np.bincount(views[0].interactions.items, minlength=60) > 0
    expected = np.zeros((3, 60))
    for weight, build in zip((0.25, 0.75), members, strict=True):
        scores = build().fit(*views, seed=0).score(SUPPORTS).astype(np.float64)
        inside = scores[:, candidates]
        expected += weight * (scores - inside.mean(1, keepdims=True)) / inside.std(1, keepdims=True)
    assert blended.score(SUPPORTS) == pytest.approx(expected, abs=2e-5)  # float32 sums over 60 items


def test_a_support_takes_the_weights_of_the_nearest_k_in_ratio(views):
    weights = {1: (1.0, 0.0), 10: (0.0, 1.0)}  # the border lies at sqrt(10) = 3.16
    members = (baseline("toppop"), baseline("ease"))
    blended = Blend(members=members, weights=weights).fit(*views, seed=0)
    three, four = blended.score([_support([0, 1, 2]), _support([0, 1, 2, 3])])
    counts = np.bincount(views[0].interactions.items, minlength=60)
    assert np.corrcoef(three, counts)[0, 1] == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(four, counts)[0, 1] < 0.5


def test_the_search_turns_away_from_a_member_that_says_the_opposite(views):
    class Contrary:
        name, num_parameters = "contrary", 0

        def fit(self, training, validation, *, seed):
            self.ease = baseline("ease")().fit(training, validation, seed=seed)
            return self

        def score(self, supports):
            return -self.ease.score(supports)

    blended = Blend(members=(Contrary, baseline("ease")), num_draws=5).fit(*views, seed=0)
    assert all(row[1] > row[0] for k, row in blended.weights.items() if k <= 10)
    assert blended.weights[20] == (0.5, 0.5)  # no user is long enough: all members count alike
    assert all(sum(row) == pytest.approx(1) for row in blended.weights.values())


def test_the_blend_is_no_worse_than_its_members_where_its_weights_were_found(views):
    members = tuple(baseline(name) for name in ("userknn", "ease", "toppop"))
    blended = Blend(members=members, num_draws=20).fit(*views, seed=0)
    episodes = draw_validation_episodes(*views, seed=0)
    best = max(mean_ndcg(build().fit(*views, seed=0).score, episodes) for build in members)
    # The search ranks shortlists of 100 items, here the whole catalogue, by standardised scores.
    assert mean_ndcg(blended.score, episodes) >= best - 1e-3


def test_one_seed_finds_the_same_weights(views):
    one, other = (baseline("ease-ials", num_draws=5)().fit(*views, seed=4).weights for _ in range(2))
    assert one == other


def test_a_constant_row_is_standardised_to_zero():
    scores = np.array([[2.0, 2.0, 2.0, 9.0], [1.0, 3.0, 5.0, 9.0]], dtype=np.float32)
    found = standardised_scores(scores, np.array([True, True, True, False]))
    assert found[0].tolist() == [0, 0, 0, 0]
    assert found[1, :3] == pytest.approx(np.array([-1, 0, 1]) * np.sqrt(1.5), abs=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [
        {"members": ()},
        {"num_draws": 0},
        {"weights": {5: (1.0,)}},
        {"weights": {5: (0.0, 0.0)}},
        {"weights": {}},
    ],
)
def test_what_does_not_fit_is_refused(views, wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        Blend(**{"members": (baseline("ease"), baseline("toppop")), **wrong}).fit(*views, seed=0)


def test_an_unknown_member_is_answered_with_the_known():
    with pytest.raises(UnknownNameError, match="ease, ials"):
        baseline("ease-ials", members={"toppop": {}})()


def test_scores_that_differ_by_rounding_alone_weigh_nothing():
    scores = np.ones((2, 6), dtype=np.float32)
    scores[0, 2] += np.finfo(np.float32).eps
    scores[1, 2] = 2.0
    flat, varied = standardised_scores(scores, np.ones(6, dtype=np.bool_))
    assert (flat == 0).all()
    assert varied.std() == pytest.approx(1.0)
