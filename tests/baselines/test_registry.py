"""Names, settings and search spaces of the baselines."""

from __future__ import annotations

import json
import math
from math import prod
from pathlib import Path

import numpy as np
import pytest

from warmprompt.baselines import BASELINES, SEARCH_SPACES, TUNED, at_budget, baseline, tuned_settings
from warmprompt.baselines.budget import defaults_of
from warmprompt.baselines.tuned import TUNED_IN_TIME, is_tuned_on
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import Support

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", BASELINES)
def test_rows_are_labelled_by_the_name_that_builds_them(name):
    assert baseline(name)().name == name


@pytest.mark.parametrize("name", BASELINES)
def test_defaults_lie_on_the_searched_grid(name):
    defaults = defaults_of(name)
    for setting, values in SEARCH_SPACES[name].items():
        assert defaults[setting] in values


@pytest.mark.parametrize("name", [name for name in BASELINES if SEARCH_SPACES[name]])
def test_every_search_space_has_room_for_twenty_trials(name):
    assert prod(len(values) for values in SEARCH_SPACES[name].values()) >= 20


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean itemknn"):
        baseline("itemkn")


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="l2"):
        baseline("ease", lambda_=3)


def test_a_setting_that_is_no_number_is_refused():
    with pytest.raises(BadInputError, match="ease l2"):
        baseline("ease", l2="many")


@pytest.mark.parametrize("name", BASELINES)
def test_scores_before_fit_are_refused(name):
    support = Support(user=1, items_K=np.zeros(1, np.int32), ratings_K=np.zeros(1, np.float32))
    with pytest.raises(BadInputError, match="Call fit first"):
        baseline(name)().score([support])


def test_a_setting_of_another_kind_is_refused():
    with pytest.raises(BadInputError, match="vectors_VX"):
        baseline("content-vectors", vectors_VX=3)
    with pytest.raises(BadInputError, match="members"):
        baseline("blend", members=3)


def test_values_of_the_search_spaces_rise():
    for space in SEARCH_SPACES.values():
        for values in space.values():
            assert list(values) == sorted(set(values))


def test_settings_that_were_found_lie_on_the_searched_grid_and_build():
    for data, found in TUNED.items():
        for name, settings in found.items():
            assert all(value in SEARCH_SPACES[name][setting] for setting, value in settings.items())
            built = baseline(name, **tuned_settings(data, name))()
            assert all(getattr(built, setting) == value for setting, value in settings.items())


# Settings in use that come from no search of twenty trials, or are not its best, with the reason.
FEW = {
    ("ml-100k", "sasrec"): "searched with plain transformer layers and windows up to a random event",
    ("ml-1m", "sasrec"): "those of ml-100k: a fit takes half an hour",
    ("amazon-video-games-2018", "ease"): "eight settings by hand: each inverts a matrix of 17,000 items",
    ("amazon-beauty-2014", "ease"): "stopped after five trials: each inverts a matrix of 12,000 items",
    ("amazon-beauty-2014", "set-encoder"): "the factors of iALS there, the rest as by default",
}
NOT_THE_BEST = {
    ("ml-1m", "content-tfidf"): "better ones of an earlier search, whose record is lost",
    ("ml-1m", "set-encoder"): "the best on four draws of validation episodes; the other is a row of its own",
}


@pytest.mark.parametrize(
    ("data", "name"),
    [(data, name) for data, found in TUNED.items() for name in found if (data, name) not in FEW],
)
def test_settings_in_use_are_the_best_of_a_search_on_record(data, name):
    file = ROOT / "benchmarks" / "searches" / data / f"{name}.jsonl"
    trials = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(trials) >= 20
    whole = [trial for trial in trials if not trial["stopped"]]
    best = max(whole, key=lambda trial: trial["values"][-1])["settings"]
    assert (best == TUNED[data][name]) == ((data, name) not in NOT_THE_BEST)


@pytest.mark.parametrize(
    ("data", "protocol", "name"),
    [
        (data, protocol, name)
        for data, of_data in TUNED_IN_TIME.items()
        for protocol, found in of_data.items()
        for name in found
    ],
)
def test_settings_of_a_protocol_are_the_best_of_a_search_on_its_episodes(data, protocol, name):
    file = ROOT / "benchmarks" / "searches" / data / protocol / f"{name}.jsonl"
    trials = [json.loads(line) for line in file.read_text().splitlines()]
    grid = math.prod(map(len, SEARCH_SPACES[name].values()))
    assert len(trials) >= min(20, grid)
    whole = [trial for trial in trials if not trial["stopped"]]
    best = max(whole, key=lambda trial: trial["values"][-1])
    assert best["settings"] == TUNED_IN_TIME[data][protocol][name]


def test_settings_of_a_protocol_come_before_those_of_the_data_set(monkeypatch):
    own = {"ml-1m": {"next10": {"ease": {"l2": 500}}}}
    monkeypatch.setattr("warmprompt.baselines.tuned.TUNED_IN_TIME", own)
    assert tuned_settings("ml-1m", "ease", "next10") == {"l2": 500}
    assert tuned_settings("ml-1m", "ease", "next") == TUNED["ml-1m"]["ease"]
    assert tuned_settings("ml-1m", "ease") == TUNED["ml-1m"]["ease"]
    members = tuned_settings("ml-1m", "blend", "next10")["members"]
    assert members["ease"] == {"l2": 500}
    assert members["ials"] == TUNED["ml-1m"]["ials"]
    assert is_tuned_on("ml-1m", "blend", "next10")
    assert not is_tuned_on("ml-1m", "userknn", "next10")
    assert not is_tuned_on("ml-1m", "ease", "next")


def test_blends_take_their_members_settings():
    settings = tuned_settings("ml-1m", "ease-ials")
    assert settings == {"members": {name: TUNED["ml-1m"][name] for name in ("ease", "ials")}}
    ease, ials = (build() for build in baseline("ease-ials", **settings)().members)
    assert ease.l2 == TUNED["ml-1m"]["ease"]["l2"]
    assert ials.alpha == TUNED["ml-1m"]["ials"]["alpha"]


def test_what_was_never_searched_keeps_its_defaults():
    assert tuned_settings("ml-1m", "toppop") == {}
    assert tuned_settings("another", "ease") == {}
    assert tuned_settings("another", "blend") == {}


def test_a_share_of_the_budget_is_a_share_of_the_epochs():
    assert at_budget("multvae", 0.25, num_epochs=40)().num_epochs == 10
    assert at_budget("multvae", 0.001)().num_epochs == 1
    assert at_budget("ease", 0.25, l2=7)().l2 == 7
