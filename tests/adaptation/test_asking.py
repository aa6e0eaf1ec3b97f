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


def explained(has_NA, chosen, weights=None):
    """Return the variance of all answers that a ridge regression on some of them explains."""
    covariance = np.cov(has_NA.T.astype(float), ddof=0, aweights=weights)
    own = covariance[np.ix_(chosen, chosen)] + 0.01 * np.eye(len(chosen))
    return float(np.trace(covariance[:, chosen] @ np.linalg.solve(own, covariance[chosen])))


def greedy(has_NA, num, taken=(), weights=None):
    """Return which columns explain most, one after the other, and how much more each."""
    chosen, values = [], []
    for _ in range(num):
        left = [column for column in range(has_NA.shape[1]) if column not in (*taken, *chosen)]
        totals = {column: explained(has_NA, [*chosen, column], weights) for column in left}
        chosen.append(max(totals, key=totals.__getitem__))
        values.append(totals[chosen[-1]] - sum(values))
    return chosen, values


def test_each_question_explains_the_most_beyond_those_before_it(questionnaire):
    items, values = questionnaire.screen(5, shown=(), marked=())
    chosen, wanted = greedy(questionnaire.has_NA, 5)
    assert items.tolist() == questionnaire.items_A[chosen].tolist()
    assert values == pytest.approx(wanted, rel=1e-3)
    assert {column % 3 for column in chosen[:3]} == {0, 1, 2}  # a question per taste comes first


def test_the_next_screen_explains_the_answers_of_users_who_answered_alike(questionnaire):
    items_A, has_NA = questionnaire.items_A, questionnaire.has_NA
    shown, marked = items_A[[0, 4, 2]], items_A[[4, 7]]
    weights = np.array(
        [
            np.prod([0.8 if row[column] == (column in {4, 7}) else 0.2 for column in (0, 2, 4, 7)])
            for row in has_NA
        ]
    )
    chosen, wanted = greedy(has_NA, 3, taken=(0, 2, 4, 7), weights=weights)
    items, values = questionnaire.screen(3, shown=shown, marked=marked)
    assert items.tolist() == items_A[chosen].tolist()
    assert values == pytest.approx(wanted, rel=1e-3)


def test_the_second_screen_asks_about_what_the_first_one_has_opened():
    # Who has item 0 has one of the pairs 2, 3 and 4, 5; who has item 1 has one of the pairs 6, 7 and 8, 9.
    has_NA = np.zeros((400, 10), dtype=np.float32)
    for group in range(4):
        own = [group // 2, 2 + 2 * group, 3 + 2 * group]
        has_NA[np.ix_(range(100 * group, 100 * group + 100), own)] = 1
    questionnaire = Questionnaire(items_A=np.arange(10, dtype=np.int32), has_NA=has_NA)
    for marked, opened in ((0, {2, 3, 4, 5}), (1, {6, 7, 8, 9})):
        (item,), _ = questionnaire.screen(1, shown=[0, 1], marked=[marked])
        assert int(item) in opened


def test_forty_eight_answers_count_half_each():
    has_NA = np.zeros((2, 49), dtype=np.float32)
    has_NA[0, 25:] = 1
    has_NA[1, :23] = 1
    questionnaire = Questionnaire(items_A=np.arange(49, dtype=np.int32), has_NA=has_NA)
    for marked, share in (((), 0.5), ((25,), 0.8)):
        # Both agree in 25 of 48 answers; then one in 26 and the other in 24: 4 times as likely, for 16 times.
        (item,), (value,) = questionnaire.screen(3, shown=range(48), marked=marked)
        variance = share * (1 - share)
        assert item == 48
        assert value == pytest.approx(47 * variance**2 / (variance + 0.01), rel=1e-3)


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
