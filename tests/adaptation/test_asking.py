"""Items to ask a user about: the most telling first, then those that the answers point to."""

import pickle
import time
from dataclasses import replace

import numpy as np
import pytest

from warmprompt import Event
from warmprompt.adaptation.asking import Questionnaire, make_questionnaire
from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.experts.user_neighbours import UserNeighbours


def answers(*, num_users=400, num_items=9, seed=5):
    """Return a table of answers in three groups of items that one taste each has in common."""
    rng = np.random.default_rng(seed)
    tastes = rng.random((num_users, 3)) < 0.5
    own = tastes[:, np.arange(num_items) % 3]
    return np.where(rng.random(own.shape) < 0.15, ~own, own).astype(np.float32)


@pytest.fixture
def questionnaire():
    has_NA = answers()
    items = np.array([40, 3, 17, 28, 9, 31, 22, 5, 11], dtype=np.int32)
    return Questionnaire(items_A=items, has_NA=has_NA)


def explained(has_NA, chosen):
    """Return the variance of all answers that a ridge regression on some of them explains."""
    covariance = np.cov(has_NA.T.astype(float), bias=True)
    own = covariance[np.ix_(chosen, chosen)] + 0.01 * np.eye(len(chosen))
    return float(np.trace(covariance[:, chosen] @ np.linalg.solve(own, covariance[chosen])))


def test_each_question_explains_the_most_beyond_those_before_it(questionnaire):
    items, values = questionnaire.screen(5, shown=(), marked=())
    chosen, before = [], 0.0
    for item, value in zip(items, values, strict=True):
        left = [column for column in range(9) if column not in chosen]
        totals = {column: explained(questionnaire.has_NA, [*chosen, column]) for column in left}
        best = max(totals, key=totals.__getitem__)
        assert questionnaire.items_A[best] == item
        assert value == pytest.approx(totals[best] - before, rel=1e-3)
        chosen, before = [*chosen, best], totals[best]
    assert {column % 3 for column in chosen[:3]} == {0, 1, 2}  # a question per taste comes first


def test_the_next_screen_is_that_of_users_who_answered_alike(questionnaire):
    items_A, has_NA = questionnaire.items_A, questionnaire.has_NA
    shown, marked = items_A[[0, 1, 2]], items_A[[1]]
    weights = [
        np.prod([0.9 if row[column] == (column == 1) else 0.1 for column in (0, 1, 2)]) for row in has_NA
    ]
    share = sum(weight * row for weight, row in zip(weights, has_NA, strict=True)) / sum(weights)
    lift = np.log((share + 1e-4) / (has_NA.mean(axis=0) + 1e-4))
    wanted = sorted(range(3, 9), key=lambda column: -lift[column])
    items, values = questionnaire.screen(4, shown=shown, marked=marked)
    assert items.tolist() == items_A[wanted[:4]].tolist()
    assert values == pytest.approx(lift[wanted[:4]], abs=1e-4)
    assert {column % 3 for column in wanted[:2]} == {1}


def test_an_item_shown_and_not_marked_speaks_against_its_like(questionnaire):
    items_A = questionnaire.items_A
    liked, _ = questionnaire.screen(8, shown=(), marked=items_A[[0]])
    passed, _ = questionnaire.screen(8, shown=items_A[[0]], marked=())
    like = set(items_A[[3, 6]].tolist())
    assert set(liked[:2].tolist()) == like == set(passed[-2:].tolist())


def test_forty_eight_answers_count_half_each():
    has_NA = np.zeros((2, 49), dtype=np.float32)
    has_NA[0, 25:] = 1
    has_NA[1, :23] = 1
    questionnaire = Questionnaire(items_A=np.arange(49, dtype=np.int32), has_NA=has_NA)
    (item,), (lift,) = questionnaire.screen(3, shown=range(48), marked=())
    assert (has_NA[:, :48] == 0).sum(axis=1).tolist() == [25, 25]
    assert item == 48
    assert lift == pytest.approx(0, abs=1e-3)
    # Now one user agrees in 26 and the other in 24: nine times as likely, where whole answers gave 81.
    (_,), (lift,) = questionnaire.screen(3, shown=range(48), marked=[25])
    assert lift == pytest.approx(np.log(0.9 / 0.5), abs=1e-3)


def test_a_run_asks_about_popular_items_that_are_neither_known_nor_shown_nor_hidden(model):
    first = model.ask(model.adapt(), 6)
    histories = model.engine.mixture.experts[UserNeighbours.name].histories
    assert all(histories.counts_V[model.index[item]] > 0 for item in first.items)
    assert first.titles == tuple(map(model.title, first.items))
    state = model.adapt([Event(item=first.items[0])])
    second = model.ask(state, 200, shown=first.items[1:4])
    assert not set(second.items) & set(first.items[:4])
    hidden = model.hide([second.items[0], first.items[5]])
    assert not set(hidden.ask(state, 200).items) & {first.items[0], second.items[0], first.items[5]}
    assert first.items[5] not in hidden.ask(model.adapt(), 200).items
    assert hidden.show([second.items[0], first.items[5]]).ask(model.adapt(), 6) == first


def test_a_pickled_model_asks_the_same_and_holds_no_table_of_answers(model):
    model = replace(model, clock=time.time)
    asked = model.ask(model.adapt(), 5)
    data = pickle.dumps(model)
    assert len(data) == len(pickle.dumps(model.hide([])))
    assert pickle.loads(data).ask(model.adapt(), 5) == asked


def test_without_histories_the_most_popular_items_are_asked_about(model):
    engine = replace(model.engine, mixture=model.engine.mixture.without(UserNeighbours.name))
    bare = replace(model, engine=engine)
    popular = np.argsort(-engine.popularity_V.numpy(), kind="stable")
    wanted = [model.items[item] for item in popular]
    assert list(bare.ask(bare.adapt(), 5).items) == wanted[:5]
    answered = bare.adapt([Event(item=wanted[1])])
    assert list(bare.ask(answered, 3, shown=wanted[:1]).items) == wanted[2:5]


def test_very_many_training_users_are_asked_by_an_even_part_of_them(model, monkeypatch):
    histories = model.engine.mixture.experts[UserNeighbours.name].histories
    monkeypatch.setattr("warmprompt.adaptation.asking._MOST_USERS", 5)
    found = make_questionnaire(model.engine, None)
    rows = np.linspace(0, len(histories.lengths_U) - 1, 5).astype(int)
    owned = [set(histories.items[slice(*histories.offsets_U[row : row + 2])].tolist()) for row in rows]
    wanted = [[item in of_user for item in found.items_A.tolist()] for of_user in owned]
    assert found.has_NA.astype(bool).tolist() == wanted


@pytest.mark.parametrize("n", [0, -1, 2.5, True, "3"])
def test_a_wrong_number_of_questions_is_refused(model, n):
    with pytest.raises(BadInputError, match="n: "):
        model.ask(model.adapt(), n)


def test_unknown_shown_items_and_states_of_other_models_are_refused(model):
    with pytest.raises(UnknownNameError, match="shown item"):
        model.ask(model.adapt(), 3, shown=["nothing"])
    with pytest.raises(MismatchError):
        replace(model, model_hash="another").ask(model.adapt(), 3)
