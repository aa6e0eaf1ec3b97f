"""Networks from totals against a convex solver, a bound on links, brute force, and a published matrix."""

import csv
import os
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls, root

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.network.totals import maximum_entropy, minimum_density, network_from_totals

DATA = Path(os.environ.get("WARMPROMPT_DATA", "")) / "clearing"
needs_data = pytest.mark.skipif(
    not (os.environ.get("WARMPROMPT_DATA") and DATA.is_dir()),
    reason="WARMPROMPT_DATA names no folder of data sets",
)


def totals(seed, num_banks=30, spread=1.5):
    """Return heavy-tailed (debts, claims) of one sum."""
    rng = np.random.default_rng(seed)
    debts, claims = rng.lognormal(0, spread, (2, num_banks))
    return debts, claims * debts.sum() / claims.sum()


def entropy_solution(debts, claims):
    """Solve the dual, log x_ij = a_i + b_j off the diagonal, one multiplier fixed, by Newton's method."""
    size = len(debts)
    off = 1 - np.eye(size)

    def gaps(multipliers):
        x = np.exp(np.add.outer(multipliers[:size], np.append(multipliers[size:], 0.0))) * off
        return np.concatenate([x.sum(axis=1) / debts, (x.sum(axis=0) / claims)[:-1]]) - 1

    start = np.concatenate([np.log(debts / debts.sum()), np.log(claims[:-1] / claims[-1])])
    solved = root(gaps, start + np.r_[np.full(size, np.log(claims[-1])), np.zeros(size - 1)], tol=1e-13)
    return np.exp(np.add.outer(solved.x[:size], np.append(solved.x[size:], 0.0))) * off


@pytest.mark.parametrize("seed", range(3))
def test_maximum_entropy_equals_newtons_method_on_the_dual(seed):
    debts, claims = totals(seed)
    found = maximum_entropy(debts, claims)
    assert np.abs(found - entropy_solution(debts, claims)).max() < 1e-8
    assert found.sum(axis=1) == pytest.approx(debts, rel=1e-9)
    assert found.sum(axis=0) == pytest.approx(claims, rel=1e-9)


def test_no_other_matrix_with_the_totals_has_more_entropy():
    debts, claims = np.array([3.0, 2.0, 1.0]), np.array([1.0, 2.0, 3.0])

    def entropy(x):
        return float(-(x[x > 0] * np.log(x[x > 0])).sum())

    # Off the diagonal three banks leave one degree of freedom: what the first owes the second, 1 to 2.
    others = []
    for first in np.linspace(1, 2, 301):
        x = np.array([[0, first, 3 - first], [2 - first, 0, first], [first - 1, 2 - first, 0]])
        assert np.allclose(x.sum(axis=1), debts)
        assert np.allclose(x.sum(axis=0), claims)
        others.append(entropy(x))
    assert entropy(maximum_entropy(debts, claims)) >= max(others) - 1e-9


@pytest.mark.parametrize("seed", range(20))
def test_minimum_density_has_the_totals_and_no_more_links_than_a_tree(seed):
    debts, claims = totals(seed, num_banks=12, spread=0.8)
    found = minimum_density(debts, claims, seed=seed)
    assert np.asarray(found.sum(axis=1)) == pytest.approx(debts, rel=1e-9)
    assert np.asarray(found.sum(axis=0)) == pytest.approx(claims, rel=1e-9)
    assert found.diagonal().sum() == 0
    assert found.data.min() > 0
    # Debts and claims that nowhere add up to one another need a connected graph: R + C - 1 links at least.
    assert found.nnz in (23, 24)


def test_minimum_density_equals_brute_force_on_three_banks():
    debts, claims = np.array([5.0, 1.5, 0.5]), np.array([0.7, 4.0, 2.3])
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]

    def possible(links):
        rows = [[i == row for i, _ in links] for row in range(3)]
        columns = [[j == column for _, j in links] for column in range(3)]
        design = np.array(rows + columns, dtype=float)
        target = np.r_[debts, claims]
        return nnls(design, target)[1] < 1e-8

    fewest = next(size for size in range(1, 7) if any(possible(links) for links in combinations(pairs, size)))
    assert minimum_density(debts, claims).nnz == fewest


def test_a_bank_that_all_others_just_match_is_in_every_link():
    found = minimum_density([4.0, 1.0, 1.0, 0.0], [2.0, 1.0, 2.0, 1.0]).toarray()
    assert found.sum(axis=1) == pytest.approx([4, 1, 1, 0])
    assert found.sum(axis=0) == pytest.approx([2, 1, 2, 1])
    assert found[1:, 1:].sum() == 0


def test_totals_of_one_seed_are_one_network_and_names_are_kept():
    debts, claims = totals(3)
    names = [f"bank {index}" for index in range(30)]
    one, other = (network_from_totals(names, debts, claims, seed=1) for _ in range(2))
    assert (one.matrix != other.matrix).nnz == 0
    assert one.nodes == tuple(names)
    assert one.outgoing == pytest.approx(debts)


@pytest.mark.parametrize(
    ("debts", "claims", "error", "said"),
    [
        ([1.0, 2.0], [1.0, 1.0], BadInputError, "same sum"),
        ([1.0, -1.0], [0.0, 0.0], BadInputError, "at least 0"),
        ([1.0, 2.0], [3.0], MismatchError, "2 banks"),
        ([3.0, 1.0, 1.0], [3.0, 1.0, 1.0], BadInputError, "only be owed to itself"),
    ],
)
def test_impossible_totals_are_refused(debts, claims, error, said):
    for reconstruct in (maximum_entropy, minimum_density):
        with pytest.raises(error) as raised:
            reconstruct(debts, claims)
        assert said in raised.value.line()


@needs_data
def test_the_published_bank_totals():
    """The 125 banks of the R package NetworkRiskMeasures and its own reconstruction of minimum density."""
    rows = list(csv.reader((DATA / "nrm_md_exposures.csv").read_text().splitlines()))[1:]
    published = np.array([[float(cell) for cell in row[1:]] for row in rows])
    claims, debts = published.sum(axis=1), published.sum(axis=0)
    found = minimum_density(debts, claims)
    assert found.nnz == np.count_nonzero(published) == 249
    assert np.asarray(found.sum(axis=1)) == pytest.approx(debts, abs=1e-9)
    assert np.asarray(found.sum(axis=0)) == pytest.approx(claims, abs=1e-9)
    assert np.abs(maximum_entropy(debts, claims) - entropy_solution(debts, claims)).max() < 1e-8
