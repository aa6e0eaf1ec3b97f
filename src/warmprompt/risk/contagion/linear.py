"""Sparse systems (I - A) x = b with A >= 0, the inner problem of clearing and of DebtRank. D is unknowns."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array, eye_array
from scipy.sparse.linalg import LinearOperator, bicgstab, splu

from warmprompt.risk.contagion.checks import Doubles

# Up to this many unknowns LAPACK is faster than any sparse method.
_DENSE = 128
_AIM = 1e-14
_ACCEPTED = 1e-12
_MAX_STEPS = 200


def solve_directly(matrix_DD: csr_array, right_D: Doubles) -> Doubles | None:
    """Return x of (I - A) x = b by elimination, or None where the matrix is singular."""
    size = len(right_D)
    try:
        if size <= _DENSE:
            return np.linalg.solve(np.eye(size) - matrix_DD.toarray(), right_D)
        solved_D = splu((eye_array(size, format="csr") - matrix_DD).tocsc()).solve(right_D)
    except (np.linalg.LinAlgError, RuntimeError):
        return None
    return solved_D if np.isfinite(solved_D).all() else None


def scaled_rows(matrix_DD: csr_array, scale: float | Doubles) -> csr_array:
    """Return the matrix times a number, or each row times its own."""
    factor = scale if isinstance(scale, float) else np.repeat(scale, np.diff(matrix_DD.indptr))
    return csr_array((matrix_DD.data * factor, matrix_DD.indices, matrix_DD.indptr), shape=matrix_DD.shape)


def solve_quickly(
    matrix_DD: csr_array, right_D: Doubles, start_D: Doubles, *, scale: float | Doubles = 1.0
) -> Doubles | None:
    """Return x of (I - scale A) x = b to a residual of 1e-12, by BiCGSTAB where D is large.

    Elimination fills a network of thousands of banks with non-zeros; a Krylov method needs some twenty
    products with it. Where that does not converge, and where D is small, elimination takes over.
    """
    size = len(right_D)
    if size <= _DENSE:
        return solve_directly(scaled_rows(matrix_DD, scale), right_D)

    def applied(point_D: Doubles) -> Doubles:
        return np.asarray(point_D - scale * (matrix_DD @ point_D))

    system = LinearOperator((size, size), matvec=applied, dtype=np.float64)
    with np.errstate(all="ignore"):
        solved_D, _ = bicgstab(system, right_D, x0=start_D, rtol=_AIM, atol=0.0, maxiter=_MAX_STEPS)
        missed = np.abs(right_D - applied(solved_D)).max()
    # What counts is the error left, not whether the method reports stagnation; NaN fails too.
    return (
        np.asarray(solved_D)
        if missed <= _ACCEPTED
        else solve_directly(scaled_rows(matrix_DD, scale), right_D)
    )
