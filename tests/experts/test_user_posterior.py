"""Training users as a prior: weighed by Bayes' rule, by plain loops in double precision beside it."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
from tests.experts.worlds import context_of, small_world

from warmprompt.experts import user_posterior
from warmprompt.experts.histories import UserItems
from warmprompt.experts.user_posterior import UserPosterior

HISTORIES = ((0, 1, 2), (2, 3), (1, 3, 4, 0))
NUM_ITEMS = 6
"""The last item is nobody's."""


@pytest.fixture
def posterior():
    rng = np.random.default_rng(3)
    draw = rng.standard_normal
    return UserPosterior(
        histories=_histories(HISTORIES, NUM_ITEMS),
        users_UD=draw((3, 2)).astype(np.float32),
        items_VD=draw((NUM_ITEMS, 2)).astype(np.float32),
        popularity_V=draw(NUM_ITEMS).astype(np.float32),
        model_share=0.6,
        kappa=4.0,
    )


def _histories(own, num_items):
    return UserItems(
        num_items=num_items,
        offsets_U=np.concatenate([[0], np.cumsum([len(items) for items in own])]),
        items=np.concatenate(own).astype(np.int32),
    )


def _distribution(posterior, user):
    """Return one user's p(i | u) as the formula at the top of the module says it, item by item."""
    popular = [sum(item in own for own in HISTORIES) for item in range(NUM_ITEMS)]
    scores = [
        float(posterior.users_UD[user].astype(float) @ posterior.items_VD[item].astype(float))
        + float(posterior.popularity_V[item])
        for item in range(NUM_ITEMS)
    ]
    total = sum(exp(score) for score, count in zip(scores, popular, strict=True) if count)
    share, found = posterior.model_share, []
    for item in range(NUM_ITEMS):
        did = (item in HISTORIES[user]) / len(HISTORIES[user])
        soft = exp(scores[item]) / total if popular[item] else 0.0
        found.append(
            (1 - share) * did + share * (0.97 * soft + 0.03 * popular[item] / sum(map(len, HISTORIES)))
        )
    return found


def test_every_training_user_is_a_distribution_over_items_with_events(posterior):
    choices_VU = posterior.choices_VU
    expected_UV = [_distribution(posterior, user) for user in range(3)]
    np.testing.assert_allclose(choices_VU.T, expected_UV, rtol=1e-5)
    np.testing.assert_allclose(choices_VU.sum(axis=0), 1, rtol=1e-5)
    assert not choices_VU[-1].any()


@pytest.mark.parametrize("items", [(2,), (0, 3), (4, 1, 2)], ids=str)
def test_the_prediction_is_bayes_rule_tempered(posterior, items):
    people = [_distribution(posterior, user) for user in range(3)]
    tau = (1 + 4.0) / (len(items) + 4.0)
    raw = [exp(tau * sum(log(person[item]) for item in items)) for person in people]
    expected = [
        sum(weight * person[item] for weight, person in zip(raw, people, strict=True)) / sum(raw)
        for item in range(NUM_ITEMS)
    ]
    predicted_V = posterior.predict(np.array(items, np.int32))
    np.testing.assert_allclose(predicted_V, expected, rtol=1e-5)
    assert predicted_V.sum() == pytest.approx(1, rel=1e-5)


def test_events_count_in_full_under_a_large_kappa_and_as_one_under_none(posterior):
    items = np.array([0, 3, 4], np.int32)
    logs_U = np.log(posterior.choices_VU[items].astype(np.float64)).sum(axis=0)
    for kappa, tau in ((1e9, 1.0), (0.0, 1 / 3)):
        weights_U = replace(posterior, kappa=kappa).weights(items)
        expected_U = np.exp(tau * logs_U) / np.exp(tau * logs_U).sum()
        np.testing.assert_allclose(weights_U, expected_U, rtol=1e-4)


def test_items_that_nobody_has_met_say_nothing(posterior):
    known, both = (posterior.predict(np.array(items, np.int32)) for items in ((1,), (1, 5)))
    np.testing.assert_array_equal(both, known)
    for items in ((5,), ()):
        assert not posterior.predict(np.array(items, np.int32)).any()


def test_who_did_the_same_decides_what_comes_next():
    # Two kinds of people, ten of each, and beliefs that know nothing.
    histories = [(0, 1, 2, 3)] * 10 + [(4, 5, 6, 7)] * 10
    posterior = UserPosterior(
        histories=_histories(histories, 8),
        users_UD=np.zeros((20, 1), np.float32),
        items_VD=np.zeros((8, 1), np.float32),
        popularity_V=np.zeros(8, np.float32),
    )
    own, other = 0.3 / 4 + 0.7 / 8, 0.7 / 8
    likelier = (own / other) ** (2 * 7 / 8)
    alike = likelier / (1 + likelier)
    predicted_V = posterior.predict(np.array([0, 1], np.int32))
    np.testing.assert_allclose(predicted_V[:4], alike * own + (1 - alike) * other, rtol=1e-5)
    np.testing.assert_allclose(predicted_V[4:], alike * other + (1 - alike) * own, rtol=1e-5)


def test_too_many_training_users_are_sampled_and_reported(monkeypatch):
    world, lines = small_world(), []
    monkeypatch.setattr(user_posterior, "MAX_CELLS", 12 * world.num_items)
    expert = UserPosterior.fit(world, context_of(world, progress=lines.append, seed=3))
    assert expert.choices_VU.shape == (world.num_items, 12)
    assert "12 of 40 training users" in lines[0]
    again = UserPosterior.fit(world, context_of(world, seed=3))
    np.testing.assert_array_equal(again.histories.items, expert.histories.items)
