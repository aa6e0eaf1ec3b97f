"""The linear solvers against dense elimination, and what they say of a singular system."""

import numpy as np
import pytest
from scipy.sparse import csr_array, eye_array, random_array

from warmprompt.risk.contagion.linear import solve_directly, solve_quickly


@pytest.mark.parametrize("size", [5, 400])
@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_both_solve(size, scale):
    rng = np.random.default_rng(size)
    matrix = random_array((size, size), density=min(1.0, 10 / size), rng=rng, format="csr")
    matrix = csr_array(matrix / (1.02 * matrix.sum(axis=1).max()))
    right = rng.random(size)
    expected = np.linalg.solve(np.eye(size) - scale * matrix.toarray(), right)
    assert solve_quickly(matrix, right, np.zeros(size), scale=scale) == pytest.approx(expected, abs=1e-10)
    assert solve_directly(scale * matrix, right) == pytest.approx(expected, abs=1e-10)


def test_elimination_takes_over_where_the_iteration_fails():
    # A chain of 300 with factor 1: nilpotent, so a Krylov method needs 300 steps and is given 200.
    chain = csr_array(np.diag(np.ones(299), -1))
    solved = solve_quickly(chain, np.ones(300), np.zeros(300))
    assert solved == pytest.approx(np.arange(1, 301), abs=1e-9)


@pytest.mark.parametrize("size", [3, 300])
def test_a_singular_system_has_no_solution(size):
    assert solve_directly(csr_array(eye_array(size, format="csr")), np.ones(size)) is None
    assert solve_quickly(csr_array(eye_array(size, format="csr")), np.ones(size), np.zeros(size)) is None
