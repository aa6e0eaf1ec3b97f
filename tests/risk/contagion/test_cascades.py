"""Threshold cascade and linear DebtRank against hand calculations, plain loops, and one another."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.errors import BadInputError, MismatchError, UnknownNameError
from warmprompt.risk.contagion import furfine_cascade, linear_debtrank


@st.composite
def books(draw, max_banks=7):
    """Draw (exposures, capital) in whole units; losses that just equal the capital are common."""
    num = draw(st.integers(1, max_banks))
    amount = st.one_of(st.just(0), st.integers(0, 10))
    rows = draw(st.lists(st.lists(amount, min_size=num, max_size=num), min_size=num, max_size=num))
    exposures = np.array(rows, dtype=float).reshape(num, num)
    np.fill_diagonal(exposures, 0)
    capital = draw(st.lists(st.integers(1, 20), min_size=num, max_size=num))
    return exposures, np.array(capital, dtype=float)


def cascade_by_loop(exposures, capital, first, loss_given_default):
    failed, rounds = {*first}, dict.fromkeys(first, 0)
    number = 0
    while True:
        number += 1
        hit = [
            bank
            for bank in range(len(capital))
            if bank not in failed
            and loss_given_default * sum(exposures[bank][debtor] for debtor in failed) > capital[bank]
        ]
        if not hit:
            return [rounds.get(bank, -1) for bank in range(len(capital))]
        failed.update(hit)
        rounds.update(dict.fromkeys(hit, number))


def test_a_cascade_by_hand():
    # 1 lent 5 to 0 on capital 4 and fails; 2 lent 3 to 0 and 3 to 1 on capital 5: only both are too much;
    # 3 lent 2 to 2 on capital 2, which it just survives.
    exposures = np.zeros((4, 4))
    exposures[1, 0], exposures[2, 0], exposures[2, 1], exposures[3, 2] = 5, 3, 3, 2
    cascade = furfine_cascade(exposures, [1, 4, 5, 2], [0])
    assert cascade.round_N.tolist() == [0, 1, 2, -1]
    assert cascade.losses_N.tolist() == [0, 5, 6, 2]
    assert cascade.num_rounds == 2
    # At 80 % lost, bank 1 loses just its capital, and nothing spreads.
    assert furfine_cascade(exposures, [1, 4, 5, 2], [0], loss_given_default=0.8).failed_N.tolist() == [
        True, False, False, False,
    ]  # fmt: skip


def test_rounding_does_not_make_a_bank_fail():
    # 0.1 + 0.2 > 0.3 in binary.
    assert not furfine_cascade([[0, 0.1, 0.2], [0, 0, 0], [0, 0, 0]], [0.3, 1, 1], [1, 2]).failed_N[0]


@given(books(), st.sets(st.integers(0, 6)), st.sampled_from([0.0, 0.25, 0.5, 1.0]))
def test_cascade_equals_a_plain_loop(book, first, loss_given_default):
    exposures, capital = book
    first = {bank for bank in first if bank < len(capital)}
    cascade = furfine_cascade(exposures, capital, first, loss_given_default=loss_given_default)
    assert cascade.round_N.tolist() == cascade_by_loop(exposures, capital, first, loss_given_default)
    failed = cascade.failed_N
    assert cascade.losses_N == pytest.approx(loss_given_default * exposures[:, failed].sum(axis=1))
    assert cascade.num_rounds == max([0, *cascade.round_N])


def stress_by_rounds(exposures, capital, shock, num_rounds):
    """Return the stress after plain rounds of increments, as Bardoscia et al. write them."""
    leverage = exposures / capital[:, None]
    before, now = np.zeros_like(shock), shock
    for _ in range(num_rounds):
        before, now = now, np.minimum(1.0, now + leverage @ (now - before))
    return now


def test_a_cycle_of_three_banks():
    # Each lent half its capital to the next; bank 2 loses half. h2 = 1/2 + h0/2, h1 = h2/2, h0 = h1/2.
    exposures = [[0, 0.5, 0], [0, 0, 0.5], [0.5, 0, 0]]
    result = linear_debtrank(exposures, [1, 1, 1], [0, 0, 0.5])
    assert result.stress_N == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=1e-12)
    assert result.additional_N == pytest.approx([1 / 7, 2 / 7, 1 / 14], abs=1e-12)
    assert result.losses_N == pytest.approx([1 / 7, 2 / 7, 4 / 7], abs=1e-12)
    assert result.index([1, 1, 2]) == pytest.approx((1 / 7 + 2 / 7 + 2 / 14) / 4, abs=1e-12)
    # After ten rounds the stress has come round three times, and a third of the way again.
    early = linear_debtrank(exposures, [1, 1, 1], [0, 0, 0.5], stop_after=10)
    assert early.stress_N == pytest.approx([73 / 512, 585 / 2048, 585 / 1024], abs=1e-15)
    assert early.rounds == 10


def test_losses_go_on_where_stress_stops():
    result = linear_debtrank([[0, 30, 20], [0, 0, 0], [0, 0, 0]], [10, 5, 5], [0, 1, 0.5])
    assert result.stress_N.tolist() == [1, 1, 0.5]
    assert result.losses_N.tolist() == [40, 5, 2.5]
    assert result.defaulted_N.tolist() == [True, True, False]


@settings(max_examples=60)
@given(books(), st.integers(0, 6), st.sampled_from([0.25, 1.0]))
def test_stress_equals_plain_rounds(book, bank, size):
    exposures, capital = book
    shock = np.zeros(len(capital))
    shock[bank % len(capital)] = size
    result = linear_debtrank(exposures, capital, shock)
    # Amounts of at most 10 on capital of at least 1: near-critical cycles still settle within this.
    expected = stress_by_rounds(exposures, capital, shock, 3000)
    assert result.stress_N == pytest.approx(expected, abs=1e-6)
    assert (result.stress_N >= shock).all()
    assert (result.stress_N <= 1).all()
    assert result.residual < 1e-11


@settings(max_examples=60)
@given(books(), st.integers(0, 6))
def test_debtrank_finds_whoever_the_cascade_finds(book, bank):
    # A failed bank passes the same loss on in both; before it fails only DebtRank passes any.
    exposures, capital = book
    shock = np.zeros(len(capital))
    shock[bank % len(capital)] = 1.0
    cascade = furfine_cascade(exposures, capital, [bank % len(capital)])
    stress = linear_debtrank(exposures, capital, shock)
    assert (cascade.failed_N <= stress.defaulted_N).all()
    assert (cascade.losses_N <= stress.losses_N + 1e-9).all()


@settings(max_examples=40)
@given(books(), st.integers(0, 6))
def test_more_shock_never_means_less_stress(book, bank):
    exposures, capital = book
    shock = np.zeros(len(capital))
    shock[bank % len(capital)] = 0.3
    less = linear_debtrank(exposures, capital, shock)
    more = linear_debtrank(exposures, capital, np.minimum(1, shock + 0.2))
    assert (more.stress_N >= less.stress_N - 1e-9).all()


def test_a_cycle_that_hardly_fades_is_solved():
    # h0 = s + 0.99999 h1, h1 = h0: a hundred thousand rounds per factor e, hence the leap.
    share = 1 - 1e-5
    result = linear_debtrank([[0, share], [1, 0]], [1, 1], [1e-6, 0])
    assert result.stress_N == pytest.approx([0.1, 0.1], rel=1e-8)
    assert result.rounds < 100


def test_a_cycle_that_feeds_itself_ends_at_full_stress():
    result = linear_debtrank([[0, 1.1], [1.0, 0]], [1, 1], [1e-6, 0])
    assert result.stress_N.tolist() == [1, 1]
    # Without a first shock it stays asleep: the least of its two fixed points.
    assert linear_debtrank([[0, 1.1], [1.0, 0]], [1, 1], [0, 0]).stress_N.tolist() == [0, 0]


def test_stress_that_travels_further_than_the_first_leap():
    # 100 banks in a line, each lent its whole capital to the one before.
    line = np.diag(np.ones(99), -1)
    assert linear_debtrank(line, np.ones(100), np.eye(100)[0] * 0.5).stress_N.tolist() == [0.5] * 100


@pytest.mark.parametrize("seed", range(2))
def test_hundreds_of_banks_equal_plain_rounds(seed):
    # Large enough for the iterative solver; each bank lent 0.9 of its capital on average.
    rng = np.random.default_rng(seed)
    exposures = rng.lognormal(0, 1, (300, 300)) * (rng.random((300, 300)) < 0.03)
    np.fill_diagonal(exposures, 0)
    capital = np.maximum(exposures.sum(axis=1), 0.1) / rng.uniform(0.6, 1.2, 300)
    shock = np.where(np.arange(300) < 10, 0.5, 0.0)
    result = linear_debtrank(exposures, capital, shock)
    assert result.stress_N == pytest.approx(stress_by_rounds(exposures, capital, shock, 3000), abs=1e-9)
    assert 0.05 < result.stress_N.mean() < 1


def test_no_banks():
    empty = np.zeros((0, 0))
    assert furfine_cascade(empty, [], []).failed_N.tolist() == []
    result = linear_debtrank(empty, [], [])
    assert result.stress_N.tolist() == []
    assert result.index([]) == 0


PAIR = [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("run", "error", "field"),
    [
        (lambda: furfine_cascade([[0, -1], [0, 0]], [1, 1], [0]), BadInputError, "exposures[0, 1]"),
        (lambda: furfine_cascade([[2, 0], [0, 0]], [1, 1], [0]), BadInputError, "exposures[0, 0]"),
        (lambda: furfine_cascade(PAIR, [1, float("nan")], [0]), BadInputError, "capital[1]"),
        (lambda: furfine_cascade(PAIR, [1], [0]), MismatchError, "capital"),
        (lambda: furfine_cascade(PAIR, [1, 1], [2]), UnknownNameError, "failed"),
        (lambda: furfine_cascade(PAIR, [1, 1], [-1]), UnknownNameError, "failed"),
        (lambda: furfine_cascade(PAIR, [1, 1], ["b"]), UnknownNameError, "failed"),
        (lambda: furfine_cascade(PAIR, [1, 1], [True]), UnknownNameError, "failed"),
        (
            lambda: furfine_cascade(PAIR, [1, 1], [0], loss_given_default=1.1),
            BadInputError, "loss_given_default",
        ),
        (lambda: furfine_cascade(PAIR, [1, -float("inf")], [0]), BadInputError, "capital[1]"),
        (lambda: furfine_cascade(PAIR, [1, None], [0]), BadInputError, "capital"),
        (lambda: furfine_cascade(PAIR, [1, 1], 0), BadInputError, "failed"),
        (
            lambda: furfine_cascade(PAIR, [1, 1], [0], loss_given_default=[1, 1.1]),
            BadInputError, "loss_given_default[1]",
        ),
        (
            lambda: furfine_cascade(PAIR, [1, 1], [0], loss_given_default=[1]),
            MismatchError, "loss_given_default",
        ),
        (
            lambda: furfine_cascade(PAIR, [1, 1], [0], loss_given_default="1"),
            BadInputError, "loss_given_default",
        ),
        (lambda: linear_debtrank(PAIR, [float("nan"), 1], [0, 1]), BadInputError, "capital[0]"),
        (
            lambda: linear_debtrank(PAIR, [1, 1], [0, 1], loss_given_default=[-1, 1]),
            BadInputError, "loss_given_default[0]",
        ),
        (lambda: linear_debtrank(PAIR, [1e-320, 1], [0, 1]), BadInputError, "capital"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0, 1.5]), BadInputError, "shock[1]"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0]), MismatchError, "shock"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0, 1], stop_after=-1), BadInputError, "stop_after"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0, 1], max_rounds=0), BadInputError, "max_rounds"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0, 1]).index([0, 0]), BadInputError, "weights"),
        (lambda: linear_debtrank(PAIR, [1, 1], [0, 1]).index([1]), MismatchError, "weights"),
    ],
)  # fmt: skip
def test_bad_input_is_named(run, error, field):
    with pytest.raises(error) as caught:
        run()
    assert caught.value.field == field


def failing_first(exposures, capital):
    """Return the same book with its failed banks given capital and put among the first failures."""
    return np.where(capital > 0, capital, 1e9), set(np.flatnonzero(capital <= 0).tolist())


@given(books(), st.lists(st.sampled_from([0, 0, 1, -3]), min_size=7, max_size=7), st.integers(0, 6))
def test_banks_without_capital_are_first_failures(book, marks, bank):
    # A bank that is made to fail first and one that begins with nothing spread the same.
    exposures, capital = book
    poor = np.where(np.array(marks[: len(capital)]) < 1, np.minimum(marks[: len(capital)], 0), capital)
    sound, failed = failing_first(exposures, poor)
    first = {bank % len(capital)}
    cascade = furfine_cascade(exposures, poor, first, loss_given_default=0.5)
    expected = furfine_cascade(exposures, sound, first | failed, loss_given_default=0.5)
    assert cascade.round_N.tolist() == expected.round_N.tolist()
    assert cascade.losses_N.tolist() == expected.losses_N.tolist()
    shock = np.zeros(len(capital))
    stress = linear_debtrank(exposures, poor, shock).stress_N
    assert (stress[list(failed)] == 1).all()
    same = linear_debtrank(exposures, sound, np.isin(np.arange(len(capital)), list(failed)) * 1.0)
    assert stress == pytest.approx(same.stress_N, abs=1e-9)


def test_a_crisis_by_hand():
    # Bank 0 begins below zero; 1 lent it 5 on capital 4 and fails; 2 lent each of them 1 on capital 4.
    exposures = [[0, 7, 0], [5, 0, 0], [1, 1, 0]]
    cascade = furfine_cascade(exposures, [-3, 4, 4], [])
    assert cascade.round_N.tolist() == [0, 1, -1]
    assert cascade.losses_N.tolist() == [7, 5, 2]
    result = linear_debtrank(exposures, [-3, 4, 4], [0, 0, 0])
    assert result.stress_N.tolist() == [1, 1, 0.5]
    assert result.additional_N.tolist() == [0, 1, 0.5]
    # Bank 0 had nothing to lose; the others lose what their claims on it and on each other are worth.
    assert result.losses_N.tolist() == [7, 5, 2]


def test_losses_given_default_are_of_the_bank_that_fails():
    exposures = np.array([[0.0, 2.0, 2.0], [0, 0, 0], [0, 0, 0]])
    for rates, losses in (([0, 1, 0.25], 2.5), ([1, 0, 0], 0.0), (0.5, 2.0)):
        cascade = furfine_cascade(exposures, [9, 1, 1], [1, 2], loss_given_default=rates)
        assert cascade.losses_N.tolist() == [losses, 0, 0]
        stress = linear_debtrank(exposures, [8, 1, 1], [0, 1, 1], loss_given_default=rates)
        assert stress.stress_N[0] == losses / 8
        assert stress.losses_N.tolist() == [losses, 1, 1]
