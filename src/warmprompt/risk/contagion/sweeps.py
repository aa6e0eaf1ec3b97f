"""Many DebtRank shocks at once, compiled: sweeps in place, and leaps along the slowest mode.

N is banks, B shocks, C those worked on together.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from warmprompt.risk.compiling import compiled
from warmprompt.risk.contagion.checks import Doubles
from warmprompt.risk.contagion.debtrank import ascend
from warmprompt.risk.contagion.linear import solve_quickly

Indices = NDArray[np.int32]

# Shocks whose stress stays in a core's cache together, for thousands of banks.
_TOGETHER = 64
_MOST_SWEEPS = 200
# Sweeps between leaps: the other modes must have died away for a leap to point the right way.
_BETWEEN_LEAPS = 7
# Below this, moves are rounding.
_ROUNDING = 1e-15


def ascend_together(leverage_NN: csr_array, shock_NB: Doubles, *, tolerance: float) -> Doubles:
    """Return the stress in which many shocks end, (N, B), to within `tolerance`.

    It is the least fixed point h of F(h) = min(1, shock + leverage h). A sweep applies F bank after bank,
    in place; from the shock, sweeps rise towards the least fixed point and never pass it.

    If x = (I - leverage)^-1 1 exists and is positive, leverage has a spectral radius below 1. F then has
    one fixed point, which sweeps reach from anywhere, so they may leap ahead; and where a sweep
    moves no bank by more than d, no bank is further than d max(x) from the fixed point.
    Otherwise sweeps rise without leaps. What is slow is finished one by one, with linear solutions.
    """
    ones_N = np.ones(len(shock_NB))
    reach_N = solve_quickly(leverage_NN, ones_N, ones_N)
    reach = 1000.0
    if unique := reach_N is not None and bool((reach_N >= 1 - 1e-9).all()):
        reach = float(np.max(reach_N, initial=1.0))
    enough = max(_ROUNDING, tolerance / reach)
    stress_NB = shock_NB.copy()
    for start in range(0, shock_NB.shape[1], _TOGETHER):
        cases = slice(start, start + _TOGETHER)
        shock_NC = np.ascontiguousarray(shock_NB[:, cases])
        stress_NC = shock_NC.copy()
        moved_C = _swept(leverage_NN, shock_NC, stress_NC, enough=enough, leaping=unique)
        for case in np.flatnonzero(moved_C > enough):
            start_N = shock_NC[:, case] if unique else stress_NC[:, case]
            stress_NC[:, case], _ = ascend(
                leverage_NN, shock_NC[:, case], start_N, tolerance=tolerance, max_rounds=1_000_000
            )
        stress_NB[:, cases] = stress_NC
    return stress_NB


def _swept(
    leverage_NN: csr_array, shock_NC: Doubles, stress_NC: Doubles, *, enough: float, leaping: bool
) -> Doubles:
    """Sweep in place until little moves, and return the largest move of each case in the last sweep."""
    parts = leverage_NN.indptr, leverage_NN.indices, leverage_NN.data
    moved_C = np.ones(stress_NC.shape[1])
    for number in range(1, _MOST_SWEEPS + 1):
        leap = leaping and number % _BETWEEN_LEAPS == 0
        before_NC, last_C = (stress_NC.copy(), moved_C.copy()) if leap else (stress_NC, moved_C)
        _sweep(*parts, shock_NC, stress_NC, moved_C)
        if (moved_C <= enough).all():
            break
        if leap:
            # Moves that shrink by the factor r a sweep go on for another r / (1 - r) of the last one.
            rate_C = np.clip(moved_C / np.maximum(last_C, _ROUNDING), 0, 0.99)
            ahead_NC = stress_NC + (stress_NC - before_NC) * (rate_C / (1 - rate_C))
            np.clip(ahead_NC, shock_NC, 1.0, out=stress_NC)
    return moved_C


@compiled
def _sweep(
    indptr: Indices,
    indices: Indices,
    data: Doubles,
    shock_NC: Doubles,
    stress_NC: Doubles,
    moved_C: Doubles,
) -> None:
    moved_C[:] = 0.0
    sum_C = np.empty_like(moved_C)
    for bank in range(len(stress_NC)):
        sum_C[:] = shock_NC[bank]
        for entry in range(indptr[bank], indptr[bank + 1]):
            share, debtor_C = data[entry], stress_NC[indices[entry]]
            for case in range(len(sum_C)):
                sum_C[case] += share * debtor_C[case]
        own_C = stress_NC[bank]
        for case in range(len(sum_C)):
            value = min(1.0, sum_C[case])
            moved_C[case] = max(moved_C[case], abs(value - own_C[case]))
            own_C[case] = value
