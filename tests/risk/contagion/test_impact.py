"""Impacts of single shocks against one run per shock; reverse stress tests against search by brute force."""

from itertools import combinations

import numpy as np
import pytest
from scipy.sparse import csr_array

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.contagion import (
    DefaultCosts,
    HarmTarget,
    clear_by_fixed_point,
    clearing_impacts,
    debtrank_impacts,
    furfine_cascade,
    furfine_impacts,
    linear_debtrank,
    obligations,
    reverse_stress_scale,
    smallest_failing_set,
    smallest_scale,
)

NUM = 30


def book(seed, num_banks=NUM, density=0.2):
    """Return random (exposures, capital) in which some shocks spread and some do not."""
    rng = np.random.default_rng(seed)
    exposures = rng.lognormal(0, 1, (num_banks, num_banks)) * (rng.random((num_banks, num_banks)) < density)
    np.fill_diagonal(exposures, 0)
    return exposures, 0.25 * exposures.sum(axis=1) + rng.uniform(0.1, 2, num_banks)


def summed_up(lost, failed, weights):
    """Return the four columns of `Impacts` from (N, N) losses and failures, one column per shock."""
    lost, failed = lost.copy(), failed.copy()
    np.fill_diagonal(lost, 0)
    np.fill_diagonal(failed, val=False)
    return (
        weights @ lost / weights.sum(),
        failed.sum(axis=0),
        lost.sum(axis=1) / (len(weights) - 1),
        failed.sum(axis=1),
    )


def assert_equal(impacts, expected):
    impact, failures, vulnerability, failed_by = expected
    assert impacts.impact_N == pytest.approx(impact, abs=1e-9)
    assert impacts.failures_N.tolist() == failures.tolist()
    assert impacts.vulnerability_N == pytest.approx(vulnerability, abs=1e-9)
    assert impacts.failed_by_N.tolist() == failed_by.tolist()
    assert failures.max() > 0
    assert 0 < impact.min() < impact.max() < 1


@pytest.mark.parametrize("seed", range(3))
def test_debtrank_impacts_equal_one_run_per_bank(seed):
    exposures, capital = book(seed)
    runs = [linear_debtrank(exposures, capital, shock) for shock in np.eye(NUM)]
    lost = np.stack([run.stress_N for run in runs], axis=1)
    failed = np.stack([run.defaulted_N for run in runs], axis=1)
    weights = np.arange(1.0, NUM + 1)
    impacts = debtrank_impacts(exposures, capital, weights=weights, batch_size=7)
    assert_equal(impacts, summed_up(lost, failed, weights))


@pytest.mark.parametrize("seed", range(3))
def test_furfine_impacts_equal_one_run_per_bank(seed):
    exposures, capital = book(seed)
    runs = [furfine_cascade(exposures, capital, [bank], loss_given_default=0.9) for bank in range(NUM)]
    lost = np.stack([np.minimum(1, run.losses_N / capital) for run in runs], axis=1)
    failed = np.stack([run.failed_N for run in runs], axis=1)
    impacts = furfine_impacts(exposures, capital, loss_given_default=0.9, batch_size=7)
    assert_equal(impacts, summed_up(lost, failed, capital))


@pytest.mark.parametrize("costs", [DefaultCosts(), DefaultCosts(alpha=0.5, beta=0.7)])
@pytest.mark.parametrize("seed", range(3))
def test_clearing_impacts_equal_one_run_per_bank(seed, costs):
    exposures, capital = book(seed)
    liabilities = exposures.T
    assets = np.maximum(0.1, liabilities.sum(axis=1) + capital / 2 - exposures.sum(axis=1))
    network = obligations(liabilities)
    before = clear_by_fixed_point(network, assets, costs=costs)
    lost, failed = np.zeros((NUM, NUM)), np.zeros((NUM, NUM), dtype=bool)
    for bank in range(NUM):
        shocked = assets.copy()
        shocked[bank] *= 0.2
        after = clear_by_fixed_point(network, shocked, costs=costs)
        had = before.equity_N > 0
        lost[had, bank] = 1 - after.equity_N[had] / before.equity_N[had]
        failed[:, bank] = after.defaulted_N & ~before.defaulted_N
    impacts = clearing_impacts(network, assets, lost_share=0.8, costs=costs, batch_size=7)
    expected = summed_up(lost, failed, before.equity_N)
    assert impacts.impact_N == pytest.approx(expected[0], abs=1e-9)
    assert impacts.failures_N.tolist() == expected[1].tolist()
    assert impacts.vulnerability_N == pytest.approx(expected[2], abs=1e-9)
    assert impacts.failed_by_N.tolist() == expected[3].tolist()
    assert expected[1].max() > 0


def test_a_star_by_hand():
    # Banks 1 and 2 each lent 3 to bank 0, on capital 2 and 6.
    exposures = csr_array(([3.0, 3.0], ([1, 2], [0, 0])), shape=(3, 3))
    impacts = furfine_impacts(exposures, [2, 2, 6])
    assert impacts.impact_N.tolist() == pytest.approx([(2 * 1 + 6 * 0.5) / 10, 0, 0])
    assert impacts.failures_N.tolist() == [1, 0, 0]
    assert impacts.vulnerability_N.tolist() == [0, 0.5, 0.25]
    assert impacts.failed_by_N.tolist() == [0, 1, 0]


def test_a_shock_that_takes_thousands_of_rounds_among_quick_ones():
    # Shocked bank 0 feeds 1 and 2, which lent to each other: h1 = 0.0005 + 0.999 h2, h2 = h1.
    impacts = debtrank_impacts([[0, 0, 0], [0.0005, 0, 0.999], [0, 1, 0]], [1, 1, 1])
    assert impacts.impact_N == pytest.approx([1 / 3, 1 / 3, 0.999 / 3], abs=1e-9)
    assert impacts.failures_N.tolist() == [0, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_impacts_in_a_crisis_are_beyond_what_happens_anyway(seed):
    exposures, capital = book(seed)
    capital[[3, 11]] = -1.0, 0.0
    rates = np.random.default_rng(seed).uniform(0.3, 1, NUM)
    weights = np.maximum(capital, 0)
    own = np.maximum(capital, 1e-300)

    def share(run):
        return np.where(capital > 0, np.minimum(1, run.losses_N / own), 0)

    start = furfine_cascade(exposures, capital, [], loss_given_default=rates)
    runs = [furfine_cascade(exposures, capital, [bank], loss_given_default=rates) for bank in range(NUM)]
    lost = np.stack([share(run) - share(start) for run in runs], axis=1)
    failed = np.stack([run.failed_N & ~start.failed_N for run in runs], axis=1)
    impacts = furfine_impacts(exposures, capital, loss_given_default=rates, batch_size=7)
    expected = summed_up(lost, failed, weights)
    assert impacts.impact_N == pytest.approx(expected[0], abs=1e-9)
    assert impacts.failures_N.tolist() == expected[1].tolist()
    assert impacts.impact_N[[3, 11]].tolist() == [0, 0]
    start = linear_debtrank(exposures, capital, np.zeros(NUM), loss_given_default=rates)
    runs = [linear_debtrank(exposures, capital, shock, loss_given_default=rates) for shock in np.eye(NUM)]
    lost = np.stack([run.stress_N - start.stress_N for run in runs], axis=1)
    failed = np.stack([run.defaulted_N & ~start.defaulted_N for run in runs], axis=1)
    impacts = debtrank_impacts(exposures, capital, loss_given_default=rates, batch_size=7)
    expected = summed_up(lost, failed, weights)
    assert impacts.impact_N == pytest.approx(expected[0], abs=1e-9)
    assert impacts.vulnerability_N == pytest.approx(expected[2], abs=1e-9)


def test_the_failing_set_begins_with_those_who_have_failed():
    # 0 begins failed and takes 1 with it; 2 and 3 fail only by themselves.
    exposures = np.zeros((4, 4))
    exposures[1, 0] = 2
    assert smallest_failing_set(exposures, [-1, 1, 1, 1], num_failures=2).banks == ()
    found = smallest_failing_set(exposures, [-1, 1, 1, 1], num_failures=3)
    assert (found.banks, found.failures) == ((2,), (3,))


def test_impacts_without_banks_and_without_capital():
    empty = np.zeros((0, 0))
    assert furfine_impacts(empty, []).impact_N.tolist() == []
    nothing = clearing_impacts(obligations([[0, 1], [1, 0]]), [0, 0])
    assert nothing.impact_N.tolist() == [0, 0]
    assert nothing.failures_N.tolist() == [0, 0]


def test_the_smallest_scale_of_a_step_is_enclosed():
    found = smallest_scale(lambda scale: float(scale >= 0.3), 1, precision=1e-9)
    assert found.below < 0.3 <= found.scale
    assert found.scale - found.below <= 1e-9
    assert found.harm == 1
    assert smallest_scale(lambda scale: 2.0, 1).scale == 0
    never = smallest_scale(lambda scale: scale / 2, 1)
    assert (never.scale, never.harm) == (None, 0.5)
    # Narrower than doubles: ends at two neighbours.
    assert smallest_scale(lambda scale: float(scale >= 0.3), 1, precision=1e-300).scale == 0.3


def test_reverse_stress_of_a_chain():
    # 0 owes 10 and holds 16; 1 owes 8, holds 2 and is due 10. Bank 0 fails once 16 (1 - s) < 10, at 3/8.
    # Bank 1 then has 16 (1 - s) + 2 (1 - s) < 8 from s = 5/9.
    network = obligations([[0, 10, 0], [0, 0, 8], [0, 0, 0]])
    one = reverse_stress_scale(network, [16, 2, 0], target=HarmTarget(at_least=1))
    two = reverse_stress_scale(network, [16, 2, 0], target=HarmTarget(at_least=2))
    assert one.scale == pytest.approx(3 / 8, abs=1e-6)
    assert two.scale == pytest.approx(5 / 9, abs=1e-6)
    assert (one.harm, two.harm) == (1, 2)
    share = reverse_stress_scale(network, [16, 2, 0], target=HarmTarget(at_least=0.5, of="default_share"))
    assert share.scale == pytest.approx(5 / 9, abs=1e-6)
    # A third of the 18 owed stays unpaid: 18 - 16 (1 - s) - 18 (1 - s) = 6, at s = 22/34.
    unpaid = reverse_stress_scale(network, [16, 2, 0], target=HarmTarget(at_least=1 / 3, of="unpaid_share"))
    assert unpaid.scale == pytest.approx(22 / 34, abs=1e-6)
    # Only bank 1's assets are hit: it has 10 + 2 (1 - s) >= 8 whatever happens.
    safe = reverse_stress_scale(network, [16, 2, 0], target=HarmTarget(at_least=1), sensitivity=[0, 1, 0])
    assert safe.scale is None
    with_costs = reverse_stress_scale(
        network, [16, 2, 0], target=HarmTarget(at_least=2), costs=DefaultCosts(alpha=0.5, beta=0.5)
    )
    # Half of bank 0's 10 is less than bank 1 needs: both fail together.
    assert with_costs.scale == pytest.approx(3 / 8, abs=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_set_reaches_the_target_and_is_no_smaller_than_the_best(seed):
    exposures, capital = book(seed, num_banks=9, density=0.4)
    for target in (1, 3, 6, 9):
        found = smallest_failing_set(exposures, capital, num_failures=target, batch_size=2)
        reached = furfine_cascade(exposures, capital, found.banks).failed_N.sum()
        assert reached == found.failures[-1] >= target
        size = next(
            size
            for size in range(1, 10)
            if any(
                furfine_cascade(exposures, capital, banks).failed_N.sum() >= target
                for banks in combinations(range(9), size)
            )
        )
        assert len(found.banks) >= size
        # One step is a search of all banks, so a single bank that suffices is found.
        assert size > 1 or len(found.banks) == 1


def test_the_greedy_set_takes_the_first_of_equals():
    assert smallest_failing_set(np.zeros((3, 3)), [1, 1, 1], num_failures=2).banks == (0, 1)


PAIR = [[0, 1], [0, 0]]


@pytest.mark.parametrize(
    ("run", "error", "field"),
    [
        (lambda: furfine_impacts(PAIR, [float("inf"), 1]), BadInputError, "capital[0]"),
        (
            lambda: debtrank_impacts(PAIR, [1, 1], loss_given_default=[1, 2]),
            BadInputError,
            "loss_given_default[1]",
        ),
        (lambda: furfine_impacts(PAIR, [1, 1], weights=[1]), MismatchError, "weights"),
        (lambda: furfine_impacts(PAIR, [1, 1], weights=[0, 0]), BadInputError, "weights"),
        (lambda: debtrank_impacts(PAIR, [1, 1], batch_size=0), BadInputError, "batch_size"),
        (lambda: clearing_impacts(obligations(PAIR), [1, 1], lost_share=0), BadInputError, "lost_share"),
        (lambda: smallest_failing_set(PAIR, [1, 1], num_failures=3), BadInputError, "num_failures"),
        (
            lambda: smallest_failing_set(PAIR, [1, 1], num_failures=1, batch_size=0),
            BadInputError,
            "batch_size",
        ),
        (lambda: smallest_scale(float, 0), BadInputError, "target"),
        (lambda: smallest_scale(float, 1, precision=0), BadInputError, "precision"),
        (lambda: HarmTarget(at_least=0), BadInputError, "at_least"),
        (lambda: HarmTarget(at_least=2, of="default_share"), BadInputError, "at_least"),
        (lambda: HarmTarget(at_least=1, of="losses"), BadInputError, "of"),
    ],
)
def test_bad_input_is_named(run, error, field):
    with pytest.raises(error) as caught:
        run()
    assert caught.value.field == field


def test_sensitivities_are_shares():
    with pytest.raises(BadInputError, match=r"sensitivity\[1\]"):
        reverse_stress_scale(obligations(PAIR), [1, 1], target=HarmTarget(at_least=1), sensitivity=[0, 1.5])


@pytest.mark.parametrize("spectral_radius", [0.5, 0.99, 1.3])
def test_debtrank_impacts_equal_plain_rounds_however_slow_stress_dies_out(spectral_radius):
    # More shocks than are worked on together; leaps below a radius of 1, plain sweeps above.
    exposures, _ = book(7, num_banks=90, density=0.1)
    capital = np.random.default_rng(7).uniform(0.5, 1.5, 90)
    capital *= np.abs(np.linalg.eigvals(exposures / capital[:, None])).max() / spectral_radius
    lost = shock = np.eye(90)
    for _ in range(6_000):
        lost = np.minimum(1, shock + exposures / capital[:, None] @ lost)
    impacts = debtrank_impacts(exposures, capital)
    impact, failures, vulnerability, _ = summed_up(lost, lost >= 1 - 1e-9, capital)
    assert impacts.impact_N == pytest.approx(impact, abs=1e-10)
    assert impacts.vulnerability_N == pytest.approx(vulnerability, abs=1e-10)
    assert impacts.failures_N.tolist() == failures.tolist()
    rough = debtrank_impacts(exposures, capital, tolerance=1e-4)
    assert impacts.impact_N == pytest.approx(rough.impact_N, abs=1e-4)
