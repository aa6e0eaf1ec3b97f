"""Ranks and top-n against brute force over every candidate, one at a time."""

from __future__ import annotations

import time
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.errors import BadInputError, NotFiniteError
from warmprompt.scoring.ranking import MISS, ranks, ranks_against, top_n


@st.composite
def _problems(draw):
    """Few distinct scores, so that ties are common."""
    num_users, num_items = draw(st.integers(1, 4)), draw(st.integers(1, 12))
    cells = st.lists(st.integers(-2, 2), min_size=num_items, max_size=num_items)
    scores_BV = np.array(draw(st.lists(cells, min_size=num_users, max_size=num_users)), dtype=np.float32)
    some_items = st.lists(st.integers(0, num_items - 1), unique=True, max_size=num_items)
    queries = [np.array(draw(some_items), dtype=np.int32) for _ in range(num_users)]
    excluded = [np.array(draw(some_items), dtype=np.int32) for _ in range(num_users)]
    shape = draw(st.sampled_from([(num_items,), (num_users, num_items)]))
    flat = draw(st.lists(st.booleans(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return scores_BV, queries, excluded, np.array(flat, dtype=bool).reshape(shape)


def _candidates_of(row, shape, excluded, mask):
    return [v for v in range(shape[1]) if np.broadcast_to(mask, shape)[row, v] and v not in excluded[row]]


@given(_problems())
def test_ranks_are_those_of_the_worst_list_that_exists(problem):
    """A list written out by sorting: by score, then candidates outside the query, then the query's order."""
    scores_BV, queries, excluded, mask = problem
    found = ranks(scores_BV, queries, excluded=excluded, candidates=mask)
    for row, query in enumerate(queries):
        allowed = _candidates_of(row, scores_BV.shape, excluded, mask)
        turn = {item: position for position, item in enumerate(query.tolist())}
        worst = sorted(allowed, key=lambda v: (-scores_BV[row, v], turn.get(v, -1)))
        expected = [worst.index(item) + 1 if item in allowed else MISS for item in query]
        assert found[row].tolist() == expected


@given(_problems())
def test_no_ordering_of_equal_scores_is_worse(problem):
    """All orderings of up to six candidates that their scores allow, one by one."""
    scores_BV, queries, excluded, mask = problem
    found = ranks(scores_BV, queries, excluded=excluded, candidates=mask)
    for row, query in enumerate(queries):
        allowed = _candidates_of(row, scores_BV.shape, excluded, mask)
        if len(allowed) > 6:
            continue
        ordered = [o for o in permutations(allowed) if (np.diff(scores_BV[row, list(o)]) <= 0).all()]
        sums = [sum(1 / (o.index(v) + 1) for v in query if v in allowed) for o in ordered]
        assert sum(1 / found[row]) == pytest.approx(min(sums))


@given(_problems(), st.integers(1, 14))
def test_top_n_equals_a_full_sort_by_score_then_index(problem, n):
    scores_BV, _, excluded, mask = problem
    found = top_n(scores_BV, n, excluded=excluded, candidates=mask)
    for row in range(len(scores_BV)):
        allowed = _candidates_of(row, scores_BV.shape, excluded, mask)
        expected = sorted(allowed, key=lambda v: (-scores_BV[row, v], v))[:n]
        assert found[row].tolist() == expected + [-1] * (n - len(expected))


def test_constant_scores_put_every_query_item_last():
    assert ranks(np.zeros((1, 50), dtype=np.float32), [np.array([3, 7])])[0].tolist() == [49, 50]


def test_ranks_against_a_list_leave_the_other_query_items_out():
    scores = np.array([[5.0, 4.0, 3.0, 3.0, 1.0]], dtype=np.float32)
    found = ranks_against(scores, [np.array([1, 2])], [np.array([3, 4])])
    assert found[0].tolist() == [1, 2]  # item 2 ties with item 3; item 0 and item 1 do not count


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("call", [lambda s: top_n(s, 3), lambda s: ranks(s, [np.array([0])] * 3)])
def test_a_score_that_is_not_finite_is_an_error_that_names_the_row(bad, call):
    scores = np.zeros((3, 4), dtype=np.float32)
    scores[1, 2] = bad
    with pytest.raises(NotFiniteError, match="rows 1"):
        call(scores)


def test_opposite_infinities_are_found_too():
    scores = np.array([[np.inf, -np.inf]], dtype=np.float32)
    with pytest.raises(NotFiniteError):
        top_n(scores, 1)


def test_large_finite_scores_are_accepted():
    scores = np.full((2, 100), np.finfo(np.float32).max, dtype=np.float32)
    assert top_n(scores, 2).tolist() == [[0, 1], [0, 1]]


def test_the_scores_are_not_written_to():
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    before = scores.copy()
    ranks(scores, [np.array([0])] * 2, excluded=[np.array([1])] * 2)
    top_n(scores, 2, excluded=[np.array([1])] * 2)
    assert (scores == before).all()


@pytest.mark.parametrize(
    "call",
    [
        lambda s: top_n(s, 0),
        lambda s: top_n(s[0], 1),
        lambda s: ranks(s, []),
        lambda s: ranks(s, [np.array([0])] * 2, excluded=[]),
        lambda s: top_n(s, 1, candidates=np.ones(7, dtype=bool)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call):
    with pytest.raises(BadInputError):
        call(np.zeros((2, 4), dtype=np.float32))


def test_ranking_20000_items_costs_no_sort_per_query_item():
    # Compared with sorts timed beside it, so that a slow or loaded machine slows both.
    scores = np.random.default_rng(0).normal(size=(32, 20_000)).astype(np.float32)
    queries = [np.arange(10)] * 32
    assert _best_of_three(lambda: ranks(scores, queries)) < 10 * _best_of_three(
        lambda: np.argsort(scores, axis=1)
    )


def _best_of_three(work):
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
