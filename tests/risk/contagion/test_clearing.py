"""Clearing against hand calculations, brute force over default sets, and what theory demands."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_matrix, random_array

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.contagion import (
    DefaultCosts,
    clear_by_fictitious_default,
    clear_by_fixed_point,
    clear_by_linear_programme,
    least_clearing,
    obligations,
)
from warmprompt.risk.contagion.fixed_point import descend_together

SOLVERS = [clear_by_fixed_point, clear_by_fictitious_default, clear_by_linear_programme]
WITH_COSTS = [clear_by_fixed_point, clear_by_fictitious_default]
HALF = DefaultCosts(alpha=0.5, beta=0.5)


@st.composite
def problems(draw, max_banks=6):
    """Draw (liabilities, to_outside, assets) in whole units, so that exact ties are common."""
    num = draw(st.integers(1, max_banks))
    amount = st.one_of(st.just(0), st.integers(0, 12))
    rows = draw(st.lists(st.lists(amount, min_size=num, max_size=num), min_size=num, max_size=num))
    liabilities = np.array(rows, dtype=float).reshape(num, num)
    np.fill_diagonal(liabilities, 0)
    vector = st.lists(amount, min_size=num, max_size=num).map(lambda values: np.array(values, dtype=float))
    return liabilities, draw(vector), draw(vector)


rates = st.sampled_from([0.0, 0.3, 0.5, 0.9, 1.0])


def largest_by_brute_force(liabilities, to_outside, assets, costs):
    """Return the greatest clearing vector: try every set of defaulters and keep what is consistent."""
    owed = liabilities.sum(axis=1) + to_outside
    shares = np.divide(liabilities, owed[:, None], out=np.zeros_like(liabilities), where=owed[:, None] > 0)
    found = []
    for chosen in product([False, True], repeat=len(owed)):
        short = np.array(chosen)
        system = np.eye(len(owed))
        system[short] -= costs.beta * shares.T[short]
        if abs(np.linalg.det(system)) < 1e-9:
            continue
        paid = np.linalg.solve(system, np.where(short, costs.alpha * assets, owed))
        means = assets + shares.T @ paid
        if (paid >= -1e-9).all() and (short == (means < owed - 1e-9)).all():
            found.append(paid)
    return max(found, key=np.sum)


BY_HAND = {
    "a chain holds: 4 of 10 arrive, 3 are due": (
        [[0, 10, 0], [0, 0, 3], [0, 0, 0]], None, [4, 1, 0], [4, 3, 0]
    ),
    "a chain breaks: 4 + 1 of the 8 due": ([[0, 10, 0], [0, 0, 8], [0, 0, 0]], None, [4, 1, 0], [4, 5, 0]),
    "a loop with p0 = 1 + p1 / 3, p1 = p0": ([[0, 6], [2, 0]], [0, 4], [1, 0], [3 / 2, 3 / 2]),
    "all default: p0 = 1 + p1 / 2, p1 = p0 / 2": ([[0, 4], [2, 0]], [4, 2], [1, 0], [4 / 3, 2 / 3]),
    "all default with nothing": ([[0, 4], [2, 0]], [4, 2], [0, 0], [0, 0]),
    "a loop without assets that leaks": ([[0, 2, 0], [1, 0, 1], [0, 0, 0]], None, [0, 0, 0], [0, 0, 0]),
    "mutual debt without assets cancels": ([[0, 1], [1, 0]], None, [0, 0], [1, 1]),
    "unequal mutual debt: each pays what it receives": ([[0, 3], [2, 0]], None, [0, 0], [2, 2]),
    "nobody owes": ([[0, 0], [0, 0]], None, [5, 0], [0, 0]),
    "one bank": ([[0]], [3], [2], [2]),
    "no bank": (np.zeros((0, 0)), None, [], []),
}  # fmt: skip


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", BY_HAND)
def test_payments_calculated_by_hand(solver, case):
    liabilities, outside, assets, paid = BY_HAND[case]
    cleared = solver(obligations(liabilities, to_outside=outside), assets)
    assert cleared.payments_N == pytest.approx(np.array(paid, dtype=float), abs=1e-9)
    assert cleared.residual < 1e-9


@pytest.mark.parametrize("solver", WITH_COSTS)
def test_both_fixed_points_of_two_banks_that_wait_for_each_other(solver):
    # In full: 1 + 2.2 >= 2 and 1 + 2 >= 2.2. In mutual default: p = 1/2 + p / 2, so 1 each.
    network = obligations([[0, 2], [2.2, 0]])
    assert solver(network, [1, 1], costs=HALF).payments_N == pytest.approx([2, 2.2], abs=1e-12)
    least = least_clearing(network, [1, 1], costs=HALF)
    assert least.payments_N == pytest.approx([1, 1], abs=1e-12)
    assert least.defaulted_N.all()
    assert least.residual < 1e-12
    # Each loses half of its asset and half of the 1 it receives.
    assert least.lost_N == pytest.approx([1, 1], abs=1e-12)


def test_mutual_debt_without_assets_may_also_stay_unpaid():
    assert least_clearing(obligations([[0, 1], [1, 0]]), [0, 0]).payments_N.tolist() == [0, 0]


def test_rounds_of_default_are_waves():
    # A ring: odd banks owe 3, hold 0.8 and are due 2; even ones owe 2, hold nothing and are due 3.
    # Wave 1: 0.8 + 2 < 3. Wave 2: at half of 2.8 received, even banks have 1.4 < 2.
    ring = np.zeros((6, 6))
    for bank in range(6):
        ring[bank, (bank + 1) % 6] = 3 if bank % 2 else 2
    cleared = clear_by_fictitious_default(obligations(ring), [0, 0.8] * 3, costs=HALF)
    assert cleared.round_N.tolist() == [2, 1] * 3
    assert cleared.num_rounds == 2
    # Then even = odd / 2 and odd = 0.4 + even / 2, so odd = 0.4 / 0.75.
    assert cleared.payments_N == pytest.approx([0.4 / 0.75 / 2, 0.4 / 0.75] * 3, abs=1e-12)


@given(problems(), rates, rates)
def test_greatest_clearing_vector_equals_brute_force(problem, alpha, beta):
    liabilities, to_outside, assets = problem
    costs = DefaultCosts(alpha=alpha, beta=beta)
    best = largest_by_brute_force(liabilities, to_outside, assets, costs)
    for solver in WITH_COSTS:
        cleared = solver(obligations(liabilities, to_outside=to_outside), assets, costs=costs)
        assert cleared.payments_N == pytest.approx(best, abs=1e-9)


@settings(max_examples=40)
@given(problems(), rates, rates)
def test_accounting(problem, alpha, beta):
    liabilities, to_outside, assets = problem
    network = obligations(liabilities, to_outside=to_outside)
    cleared = clear_by_fixed_point(network, assets, costs=DefaultCosts(alpha=alpha, beta=beta))
    owed = liabilities.sum(axis=1) + to_outside
    # Proportionality: each creditor receives its share of what its debtor pays.
    shares = np.divide(liabilities, owed[:, None], out=np.zeros_like(liabilities), where=owed[:, None] > 0)
    received = shares.T @ cleared.payments_N
    assert cleared.received_N == pytest.approx(received, abs=1e-9)
    # Limited liability, and owners come last.
    assert (cleared.payments_N <= assets + received + 1e-9).all()
    assert (cleared.payments_N <= owed).all()
    assert (cleared.equity_N >= 0).all()
    assert (cleared.equity_N[cleared.defaulted_N] == 0).all()
    assert cleared.shortfall_N == pytest.approx(owed - cleared.payments_N)
    # Money: what there was is with owners, with creditors outside, or lost in default.
    outside = np.divide(to_outside, owed, out=np.zeros_like(owed), where=owed > 0) @ cleared.payments_N
    kept = cleared.equity_N.sum() + cleared.lost_N.sum() + outside
    assert kept == pytest.approx(assets.sum(), abs=1e-9)


@settings(max_examples=40)
@given(problems(), rates, rates, st.integers(0, 5), st.integers(1, 5))
def test_more_assets_never_mean_less_payment(problem, alpha, beta, bank, gift):
    liabilities, to_outside, assets = problem
    network = obligations(liabilities, to_outside=to_outside)
    costs = DefaultCosts(alpha=alpha, beta=beta)
    before = clear_by_fixed_point(network, assets, costs=costs)
    richer = assets.copy()
    richer[bank % len(assets)] += gift
    after = clear_by_fixed_point(network, richer, costs=costs)
    assert (after.payments_N >= before.payments_N - 1e-9).all()
    assert (after.equity_N >= before.equity_N - 1e-9).all()


@settings(max_examples=40)
@given(problems(), rates, rates)
def test_least_is_a_fixed_point_below_the_greatest(problem, alpha, beta):
    liabilities, to_outside, assets = problem
    network = obligations(liabilities, to_outside=to_outside)
    costs = DefaultCosts(alpha=alpha, beta=beta)
    least = least_clearing(network, assets, costs=costs)
    greatest = clear_by_fixed_point(network, assets, costs=costs)
    assert least.residual < 1e-12
    assert (least.payments_N <= greatest.payments_N + 1e-9).all()
    # Without costs both leave every owner the same (Eisenberg & Noe 2001, theorem 1).
    if alpha == beta == 1:
        assert least.equity_N == pytest.approx(greatest.equity_N, abs=1e-9)


def random_network(num_banks, num_links, seed, *, solvency):
    """Return (liabilities, to_outside, assets) with heavy-tailed amounts; some banks cannot pay."""
    rng = np.random.default_rng(seed)
    links = random_array((num_banks, num_banks), density=num_links / num_banks**2, rng=rng, format="csr")
    liabilities = links - csr_matrix(np.diag(links.diagonal()))
    sizes = rng.lognormal(0, 2, num_banks)
    liabilities = csr_matrix(liabilities.multiply(sizes[:, None]).multiply(sizes[None, :]))
    outside = 0.1 * np.asarray(liabilities.sum(axis=1)).ravel()
    gap = np.maximum(0, 1.1 * np.asarray(liabilities.sum(axis=1) - liabilities.sum(axis=0).T).ravel())
    return liabilities, outside, (gap + 0.2 * outside) * rng.uniform(0, 2 * solvency, num_banks)


@pytest.mark.parametrize("solvency", [0.1, 0.5, 0.9, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_solvers_agree_on_random_networks(seed, solvency):
    liabilities, outside, assets = random_network(400, 4000, seed, solvency=solvency)
    network = obligations(liabilities, to_outside=outside)
    one, two, three = (solver(network, assets) for solver in SOLVERS)
    owed = np.maximum(network.owed_N, 1e-300)
    # 1e-9 of each bank's own obligations, for banks whose sizes lie six orders of magnitude apart.
    assert np.abs(one.payments_N - two.payments_N).max() <= 1e-9 * owed.max()
    assert (np.abs(one.payments_N - two.payments_N) / owed).max() < 1e-9
    assert (np.abs(one.payments_N - three.payments_N) / owed).max() < 1e-8
    assert one.num_defaults == two.num_defaults
    assert 0 < one.num_defaults < 400


@pytest.mark.parametrize("seed", range(3))
def test_solvers_agree_with_costs_of_default(seed):
    liabilities, outside, assets = random_network(400, 4000, seed, solvency=0.9)
    network = obligations(liabilities, to_outside=outside)
    costs = DefaultCosts(alpha=0.7, beta=0.8)
    one, two = (solver(network, assets, costs=costs) for solver in WITH_COSTS)
    assert one.payments_N == pytest.approx(two.payments_N, rel=1e-9, abs=1e-12)
    assert np.array_equal(one.defaulted_N, two.defaulted_N)
    assert one.num_defaults > clear_by_fixed_point(network, assets).num_defaults


def test_a_long_chain_of_defaults_is_followed_to_its_end():
    # Bank i owes 1 to bank i + 1 and relies on it from i - 1; the first has half, so all pay half.
    num = 300
    chain = coo_array((np.ones(num - 1), (np.arange(num - 1), np.arange(1, num))), shape=(num, num))
    assets = np.zeros(num)
    assets[0] = 0.5
    cleared = clear_by_fixed_point(obligations(chain), assets)
    assert cleared.payments_N.tolist() == [0.5] * (num - 1) + [0]
    assert cleared.equity_N[-1] == 0.5
    waves = clear_by_fictitious_default(obligations(chain), assets)
    assert waves.round_N.tolist() == [*range(1, num), 0]


def test_slow_convergence_is_solved_exactly():
    # p0 = 1 + p1, p1 = (1 - 1e-6) p0: sweeps alone would need some ten million to come this close to 1e6.
    network = obligations([[0, 2e6], [1e6 - 1, 0]], to_outside=[0, 1])
    cleared = clear_by_fixed_point(network, [1, 0])
    assert cleared.payments_N == pytest.approx([1e6, 1e6], rel=1e-9)
    assert cleared.iterations < 10


@settings(max_examples=40)
@given(problems(), rates, rates)
def test_many_cases_together_equal_one_by_one(problem, alpha, beta):
    liabilities, to_outside, assets = problem
    network = obligations(liabilities, to_outside=to_outside)
    costs = DefaultCosts(alpha=alpha, beta=beta)
    scales = np.array([1.0, 0.6, 0.0])
    cash = np.stack([network.cash_cover(assets * scale) for scale in scales], axis=1)
    together = descend_together(network.cover_NN, cash, np.ones(len(assets)), costs=costs, num_sweeps=2)
    for case, scale in enumerate(scales):
        alone = clear_by_fixed_point(network, assets * scale, costs=costs)
        assert together[:, case] * network.owed_N == pytest.approx(alone.payments_N, abs=1e-9)


def test_repeated_links_add_up_and_the_input_is_left_alone():
    twice = coo_array(([1.0, 2.0, 0.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    network = obligations(twice)
    assert network.owed_N.tolist() == [3, 0]
    assert twice.nnz == 3


NAN, INF = float("nan"), float("inf")
# Two entries for one pair, of which one is negative and the sum is not.
HIDDEN = coo_array(([3.0, -1.0], ([0, 0], [1, 1])), shape=(2, 2))


@pytest.mark.parametrize(
    ("liabilities", "outside", "assets", "error", "field"),
    [
        ([[0, -1], [0, 0]], None, [1, 1], BadInputError, "liabilities[0, 1]"),
        ([[0, 0], [NAN, 0]], None, [1, 1], BadInputError, "liabilities[1, 0]"),
        ([[0, INF], [0, 0]], None, [1, 1], BadInputError, "liabilities[0, 1]"),
        ([[0, 0], [0, 2]], None, [1, 1], BadInputError, "liabilities[1, 1]"),
        ([[0, 1, 0], [0, 0, 0]], None, [1, 1], BadInputError, "liabilities"),
        ([0, 1], None, [1, 1], BadInputError, "liabilities"),
        ([["a", "b"], ["c", "d"]], None, [1, 1], BadInputError, "liabilities"),
        ([[0, 1], [0]], None, [1, 1], BadInputError, "liabilities"),
        (csr_matrix([[0, 1j], [0, 0]]), None, [1, 1], BadInputError, "liabilities"),
        (HIDDEN, None, [1, 1], BadInputError, "liabilities[0, 1]"),
        ([[0, 1e308, 0], [0, 0, 1e308], [0, 0, 0]], None, [1, 1, 1], BadInputError, "liabilities"),
        ([[0, 1e-320], [1, 0]], None, [1, 1], BadInputError, "liabilities"),
        ([[0, 1], [0, 0]], [-1, 0], [1, 1], BadInputError, "to_outside[0]"),
        ([[0, 1], [0, 0]], [0], [1, 1], MismatchError, "to_outside"),
        ([[0, 1], [0, 0]], None, [1, NAN], BadInputError, "assets[1]"),
        ([[0, 1], [0, 0]], None, [-1, 0], BadInputError, "assets[0]"),
        ([[0, 1], [0, 0]], None, [1], MismatchError, "assets"),
        ([[0, 1], [0, 0]], None, ["x", "y"], BadInputError, "assets"),
    ],
)  # fmt: skip
def test_bad_amounts_are_named(liabilities, outside, assets, error, field):
    with pytest.raises(error) as caught:
        clear_by_fixed_point(obligations(liabilities, to_outside=outside), assets)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("alpha", "beta", "field"),
    [
        (-0.1, 1, "alpha"),
        (1, 1.5, "beta"),
        (NAN, 1, "alpha"),
        ("1", 1, "alpha"),
        ([1, 2], 1, "alpha[1]"),
        (1, [0.5, NAN], "beta[1]"),
        ([0.5, "x"], 1, "alpha"),
        (None, 1, "alpha"),
    ],
)
def test_recovery_rates_are_shares(alpha, beta, field):
    with pytest.raises(BadInputError) as caught:
        DefaultCosts(alpha=alpha, beta=beta)
    assert caught.value.field == field


@pytest.mark.parametrize("solver", [clear_by_fixed_point, least_clearing])
def test_the_guard_says_how_far_it_came(solver):
    with pytest.raises(BadInputError, match="max_sweeps.*moved a bank by"):
        solver(obligations([[0, 6], [2, 0]], to_outside=[0, 4]), [1, 0], max_sweeps=2)


@pytest.mark.parametrize("solver", [clear_by_fixed_point, clear_by_fictitious_default, least_clearing])
def test_rates_of_another_number_of_banks_are_refused(solver):
    with pytest.raises(MismatchError) as caught:
        solver(obligations([[0, 6], [2, 0]]), [1, 0], costs=DefaultCosts(beta=[1, 1, 1]))
    assert caught.value.field == "beta"


def systems(seed, num, density):
    rng = np.random.default_rng(seed)
    liabilities = rng.lognormal(0, 1, (num, num)) * (rng.random((num, num)) < density)
    np.fill_diagonal(liabilities, 0)
    network = obligations(liabilities, to_outside=rng.uniform(0, 2, num))
    return network, network.owed_N * rng.uniform(0, 0.9, num), rng


@pytest.mark.parametrize(("seed", "num", "density"), [(0, 12, 0.4), (1, 12, 0.4), (2, 300, 0.03)])
def test_each_bank_recovers_at_its_own_rates(seed, num, density):
    network, assets, rng = systems(seed, num, density)
    alpha, beta = rng.uniform(0.2, 1, (2, num))
    costs = DefaultCosts(alpha=alpha, beta=beta)
    cleared = clear_by_fixed_point(network, assets, costs=costs)
    # The plain map from full payment, many times.
    paid = network.owed_N.copy()
    for _ in range(3000):
        received = network.claims_NN @ np.divide(
            paid, network.owed_N, out=np.ones(num), where=network.owed_N > 0
        )
        short = assets + received < network.owed_N * (1 - 1e-12)
        paid = np.where(short, alpha * assets + beta * received, network.owed_N)
    assert cleared.payments_N == pytest.approx(paid, abs=1e-8)
    assert cleared.num_defaults > 0
    other = clear_by_fictitious_default(network, assets, costs=costs)
    assert other.payments_N == pytest.approx(paid, abs=1e-8)
    same = clear_by_fixed_point(
        network, assets, costs=DefaultCosts(alpha=np.full(num, 0.6), beta=np.full(num, 0.7))
    )
    one = clear_by_fixed_point(network, assets, costs=DefaultCosts(alpha=0.6, beta=0.7))
    assert same.payments_N == pytest.approx(one.payments_N, rel=1e-12)


@pytest.mark.parametrize("costs", [DefaultCosts(), DefaultCosts(alpha=0.7, beta=0.6)])
@pytest.mark.parametrize(("seed", "num", "density"), [(0, 12, 0.4), (1, 12, 0.4), (2, 300, 0.03)])
def test_waves_of_default_are_the_same_for_every_solver(seed, num, density, costs):
    network, assets, _ = systems(seed, num, density)
    # Wave r by definition: clear with at most the earlier waves in default and see who is short.
    waves, number, matrix = np.zeros(num, dtype=int), 0, network.cover_NN.toarray()
    cash, share = network.cash_cover(assets), np.ones(num)
    while (newly := (cash + matrix @ share < 1 - 1e-12) & (waves == 0)).any():
        number += 1
        waves[newly] = number
        failed = waves > 0
        right = np.where(failed, costs.alpha * cash, 1.0)
        share = np.linalg.solve(np.eye(num) - failed[:, None] * costs.beta * matrix, right)
    assert number > 1
    solvers = [clear_by_fixed_point, clear_by_fictitious_default]
    cleared = [solver(network, assets, costs=costs) for solver in solvers]
    if costs.alpha == 1:
        cleared.append(clear_by_linear_programme(network, assets))
    for one in cleared:
        assert one.round_N.tolist() == waves.tolist()
        assert one.num_rounds == number


def test_banks_that_wait_for_one_another_default_in_one_wave():
    least = least_clearing(obligations([[0, 1], [1, 0]]), [0, 0])
    assert least.round_N.tolist() == [1, 1]
    assert clear_by_fixed_point(obligations([[0, 1], [1, 0]]), [0, 0]).round_N.tolist() == [0, 0]
