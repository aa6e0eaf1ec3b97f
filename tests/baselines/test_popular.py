"""Popularity against counting, and the demographic one against a plant and its formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from warmprompt.baselines import baseline
from warmprompt.errors import BadInputError
from warmprompt.types import Support


def _nobody(**attributes):
    return Support(
        user="new", items_K=np.zeros(0, np.int32), ratings_K=np.zeros(0, np.float32), attributes=attributes
    )


def test_toppop_scores_are_shares_of_the_most_popular_item(worlds):
    data = worlds.make_dataset([[0, 1], [0], [0, 1, 2], [0]], num_items=4)
    scores = baseline("toppop")().fit(data, data, seed=0).score([_nobody()])
    assert scores[0].tolist() == pytest.approx([1, 2 / 4, 1 / 4, 0])


def test_only_the_last_days_count_and_all_events_break_ties(worlds):
    data = worlds.make_dataset([[0, 1], [0, 2], [0, 1]], num_items=4)
    day = 86_400
    times = np.array([0, 90 * day, 0, 95 * day, 1, 2], dtype=np.int64)
    data = replace(data, interactions=replace(data.interactions, times_s=times))
    scores = baseline("toppop-recent", days=10)().fit(data, data, seed=0).score([_nobody()])[0]
    assert np.argsort(-scores).tolist() == [1, 2, 0, 3]
    assert np.floor(scores + 1e-3).tolist() == [0, 1, 1, 0]


def test_only_the_first_events_of_each_user_count(worlds):
    data = worlds.make_dataset([[0, 1, 2], [0, 2, 1], [1, 2]], num_items=3)
    data = replace(data, interactions=replace(data.interactions, times_s=np.arange(8, dtype=np.int64)))
    scores = baseline("toppop-recent", first=1)().fit(data, data, seed=0).score([_nobody()])[0]
    assert np.floor(scores + 1e-3).tolist() == [2, 1, 0]


@pytest.mark.parametrize("settings", [{"days": 0}, {"first": -1}])
def test_days_and_first_events_out_of_range_are_refused(worlds, settings):
    data = worlds.make_dataset([[0]])
    with pytest.raises(BadInputError, match=next(iter(settings))):
        baseline("toppop-recent", **settings)().fit(data, data, seed=0)


def test_without_times_the_recent_are_all(worlds):
    data = worlds.make_dataset([[0, 1], [0]], num_items=3)
    data = replace(data, interactions=replace(data.interactions, times_s=None))
    recent, plain = (
        baseline(name)().fit(data, data, seed=0).score([_nobody()]) for name in ("toppop-recent", "toppop")
    )
    assert (recent == plain).all()


def test_attributes_lift_items_by_the_written_formula(worlds):
    data = worlds.make_dataset([[0, 1], [0, 2]], attributes={"sex": ["f", "m"]})
    ranker = baseline("toppop-demographic", smoothing=5, weight=0.5)().fit(data, data, seed=0)
    share = np.array([3, 2, 2]) / 7  # one event more per item
    lifted = (np.array([1, 1, 0]) + 5 * share) / (2 + 5)
    expected = np.log(share) + 0.5 * np.log(lifted / share)
    assert ranker.score([_nobody(sex="f")])[0] == pytest.approx(expected, abs=1e-6)
    assert ranker.score([_nobody(sex="other")])[0] == pytest.approx(np.log(share), abs=1e-6)


def test_those_who_share_every_value_are_counted_and_smoothed_towards_naive_bayes(worlds):
    people = {"sex": ["f", "m", "f", "m"], "town": ["a", "a", "b", "b"]}
    data = worlds.make_dataset([[0, 1], [0, 2], [2, 3], [1, 3]], attributes=people)
    apart = baseline("toppop-demographic", smoothing=5)().fit(data, data, seed=0)
    ranker = baseline("toppop-demographic", smoothing=5, joint=4)().fit(data, data, seed=0)
    bayes = np.exp(apart.score([_nobody(sex="f", town="a")])[0])
    counted = np.array([1, 1, 0, 0]) + 4 * bayes / bayes.sum()
    both, half = ranker.score([_nobody(sex="f", town="a"), _nobody(sex="f")])
    assert both == pytest.approx(np.log(counted / counted.sum()), abs=1e-5)
    assert half == pytest.approx(apart.score([_nobody(sex="f")])[0], abs=1e-6)


def test_a_combination_shows_what_its_values_alone_cannot(worlds):
    sexes, towns = ["f", "f", "m", "m"] * 25, ["a", "b"] * 50
    histories = [
        [0, 2] if (sex == "f") == (town == "a") else [1, 2] for sex, town in zip(sexes, towns, strict=True)
    ]
    data = worlds.make_dataset(histories, attributes={"sex": sexes, "town": towns})
    apart, joint = (
        baseline("toppop-demographic", joint=events)()
        .fit(data, data, seed=0)
        .score([_nobody(sex="f", town="a")])[0]
        for events in (0, 10)
    )
    assert apart[0] == pytest.approx(apart[1])
    assert joint[0] > joint[1] + 1


def test_negative_events_are_refused(worlds):
    data = worlds.make_dataset([[0]], attributes={"sex": ["f"]})
    with pytest.raises(BadInputError, match="joint"):
        baseline("toppop-demographic", joint=-1)().fit(data, data, seed=0)


def test_planted_tastes_of_the_young_and_the_old_are_found(worlds):
    histories = [[0, 1, 4] if user < 25 else [2, 3, 4] for user in range(50)]
    data = worlds.make_dataset(histories, attributes={"age": [str(20 + user) for user in range(50)]})
    ranker = baseline("toppop-demographic")().fit(data, data, seed=0)
    young, old = ranker.score([_nobody(age="22"), _nobody(age="66")])
    assert min(young[:2]) > max(young[2:4])
    assert min(old[2:4]) > max(old[:2])


def test_attributes_that_name_single_users_are_left_out(worlds):
    codes = [f"Z{user}" for user in range(60)]
    data = worlds.make_dataset([[user % 3] for user in range(60)], attributes={"zip": codes})
    ranker = baseline("toppop-demographic")().fit(data, data, seed=0)
    assert (ranker.score([_nobody(zip="Z1")]) == ranker.score([_nobody()])).all()
