"""Rankings of users whose events are known in their order."""

from dataclasses import replace

import numpy as np
import pytest

from warmprompt import Event
from warmprompt.adaptation.personaliser import Known
from warmprompt.experts.mixture import ANCHORS
from warmprompt.experts.position import POSITIONS, PositionPopularity
from warmprompt.experts.registry import ORDERED

FIRST, THIRD = 5, 9


@pytest.fixture(scope="module")
def with_order(model):
    """Return the model with an expert of order: one item leads at first, another one after two events."""
    shares_PV = np.zeros((len(POSITIONS), len(model.items)), dtype=np.float32)
    shares_PV[:2, FIRST] = 100
    shares_PV[2:, THIRD] = 100
    expert = PositionPopularity(shares_PV=shares_PV)
    mixture = model.engine.mixture.without(*ORDERED)
    mixture = replace(
        mixture,
        experts={**mixture.experts, expert.name: expert},
        ordered={expert.name: [10.0] * len(ANCHORS)},
    )
    return replace(model, engine=replace(model.engine, mixture=mixture))


def _events(model, number):
    return [Event(item=item) for item in model.items[20 : 20 + number]]


@pytest.mark.parametrize(("number", "leader"), [(0, FIRST), (1, FIRST), (2, THIRD), (4, THIRD)])
def test_ordered_rankings_follow_the_position(model, with_order, number, leader):
    events = _events(model, number)
    state = with_order.adapt(events)
    assert with_order.rank(state, 1, ordered=True).items == (model.items[leader],)
    many = with_order.rank_many([Known(events=events)], 1, ordered=True)
    assert many[0].items == (model.items[leader],)
    frame = with_order.recommend({"u": events}, 1, ordered=True)
    assert frame["item_id"].to_list() == [model.items[leader]]


def test_without_a_word_about_order_nothing_changes(model, with_order):
    state = model.adapt(_events(model, 3))
    before, after = (one.rank(state, 20) for one in (model, with_order))
    assert before.items == after.items
    assert before.scores == after.scores
    assert with_order.rank(state, 20, ordered=True, drop=["position_popularity"]).scores == before.scores


def test_experts_of_order_are_timed_at_work(with_order, monkeypatch):
    """For users whose events have no order they return zeros at once, and would seem to cost nothing."""
    seen, score = [], PositionPopularity.score

    def watched(self, users):
        seen.extend(users.supports)
        return score(self, users)

    monkeypatch.setattr(PositionPopularity, "score", watched)
    with_order.describe()
    assert seen
    assert all(support.ordered for support in seen)
