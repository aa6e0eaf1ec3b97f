"""Several searches within one budget: fair shares, defaults first, nothing paid twice."""

from __future__ import annotations

import json

import pytest

from warmprompt.baselines import SEARCH_SPACES, tuning
from warmprompt.baselines.budget import MAX_TRIALS, defaults_of, searchable, spent_on, tune_within
from warmprompt.baselines.registry import BASELINES

COSTS = {"itemknn": 1.0, "ease": 4.0, "ials": 8.0}


class Clock:
    """A processor clock that goes on only while something is evaluated."""

    def __init__(self):
        self.now_s = 0.0
        self.calls = []

    def __call__(self):
        return self.now_s

    def evaluate(self, name, settings):
        self.calls.append((name, dict(settings)))
        self.now_s += COSTS[name]
        return sum(settings.values())


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(tuning.time, "process_time", clock)
    return clock


def test_the_first_trial_of_each_is_its_defaults(clock):
    tune_within(100, list(COSTS), clock.evaluate)
    for name in COSTS:
        first = next(settings for called, settings in clock.calls if called == name)
        assert first == {setting: getattr(BASELINES[name](), setting) for setting in SEARCH_SPACES[name]}


def test_each_gets_the_same_processor_time_until_it_has_tried_enough(clock):
    trials = tune_within(60, list(COSTS), clock.evaluate)
    # No share differs from another by more than one trial of the most expensive.
    shares = [spent_on(found) for found in trials.values()]
    assert max(shares) - min(shares) <= max(COSTS.values())
    assert 60 - min(COSTS.values()) <= sum(shares) <= 60
    more = tune_within(1000, list(COSTS), clock.evaluate)
    # EASE's grid holds 26; the others stop at the most that a baseline is given.
    assert {name: len(found) for name, found in more.items()} == {
        "itemknn": MAX_TRIALS,
        "ease": 26,
        "ials": MAX_TRIALS,
    }
    for found in more.values():
        assert len({json.dumps(one.settings, sort_keys=True) for one in found}) == len(found)


@pytest.mark.parametrize("budget_s", [0, 1, 5, 13, 30, 77])
def test_a_budget_is_passed_by_less_than_the_one_trial_that_was_begun(clock, budget_s):
    tune_within(budget_s, list(COSTS), clock.evaluate)
    # A first trial, whose cost nobody knows, may pass it; later ones begin only where they fit.
    assert clock.now_s <= max(budget_s, sum(COSTS.values()))
    assert budget_s > 0 or not clock.calls


def test_what_was_tried_is_kept_and_not_paid_again(clock, tmp_path):
    first = tune_within(50, list(COSTS), clock.evaluate, folder=tmp_path)
    spent_s = clock.now_s
    assert tune_within(50, list(COSTS), clock.evaluate, folder=tmp_path) == first
    assert clock.now_s == spent_s
    lines = (tmp_path / "ease.jsonl").read_text().splitlines()
    assert [json.loads(line)["cpu_s"] for line in lines] == [4.0] * len(first["ease"])
    # A larger budget goes on from there, to the trials of one uninterrupted search.
    more = tune_within(90, list(COSTS), clock.evaluate, folder=tmp_path)
    whole = tune_within(90, list(COSTS), clock.evaluate)
    assert [[one.settings for one in found] for found in more.values()] == [
        [one.settings for one in found] for found in whole.values()
    ]


def test_members_of_blends_are_searched_once_and_what_has_no_settings_is_not():
    assert searchable(["toppop", "ease", "blend", "ease-ials"]) == ("ease", "userknn", "itemknn", "ials")
    assert searchable(["toppop"]) == ()


def test_the_defaults_of_every_searched_baseline_lie_on_its_grid():
    for name, space in SEARCH_SPACES.items():
        if space:
            assert all(value in space[setting] for setting, value in defaults_of(name).items()), name
