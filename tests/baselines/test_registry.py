"""Names, settings and search spaces of the baselines."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from warmprompt.baselines import BASELINES, SEARCH_SPACES, baseline
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import Support


@pytest.mark.parametrize("name", BASELINES)
def test_rows_are_labelled_by_the_name_that_builds_them(name):
    assert baseline(name)().name == name


@pytest.mark.parametrize("name", BASELINES)
def test_defaults_lie_on_the_searched_grid(name):
    ranker = baseline(name)()
    for setting, values in SEARCH_SPACES[name].items():
        assert getattr(ranker, setting) in values


@pytest.mark.parametrize("name", [name for name in BASELINES if SEARCH_SPACES[name]])
def test_every_search_has_at_least_twenty_trials(name):
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
