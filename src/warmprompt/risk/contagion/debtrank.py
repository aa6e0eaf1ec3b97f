"""Linear DebtRank: stress that spreads in proportion before anybody defaults.

N is banks, U those below full stress, B shocks. Exposures: rows lend to columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import (
    Bools,
    Doubles,
    checked_capital,
    checked_matrix,
    checked_vector,
    lost_on_default,
)
from warmprompt.risk.contagion.linear import solve_quickly

# Stress this close to 1 is a default; a sum of shares may miss 1 by rounding.
FULL = 1 - 1e-12
_FIRST_LEAP = 16
_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class DebtRank:
    """Where the stress ends.

    Attributes:
        stress_N: Share of each bank's capital that is lost, in [0, 1]; 1 for a bank without any.
        additional_N: `stress_N` less the shock, which is 1 for a bank without capital.
        losses_N: Losses in money, shock and contagion together, not capped at the capital: the claims
            on bank j lose the share `stress_N[j]`, times its loss given default.
        defaulted_N: Banks without capital left.
        rounds: Rounds of propagation; with a leap, those before it.
        residual: Largest distance to the fixed point, in shares of capital.
    """

    stress_N: Doubles
    additional_N: Doubles
    losses_N: Doubles
    defaulted_N: Bools
    rounds: int
    residual: float

    def index(self, weights: ArrayLike) -> float:
        """Return DebtRank: the additional stress, averaged with each bank's weight.

        Raises:
            BadInputError: A weight is negative, NaN or infinite, or all are 0.
            MismatchError: Another number of weights than banks.

        Source: Battiston et al. 2012, methods.
        """
        return float(normalised(weights, len(self.stress_N)) @ self.additional_N)


def normalised(weights: ArrayLike, num_banks: int) -> Doubles:
    """Return weights divided by their sum.

    Raises:
        BadInputError: A weight is negative, NaN or infinite, or all are 0.
        MismatchError: Another number of weights than banks.
    """
    weights_N = checked_vector(weights, num_banks, "weights")
    total = weights_N.sum()
    if num_banks and not 0 < total < np.inf:
        raise BadInputError(field="weights", value=total, remedy="Give weights with a finite sum above 0.")
    return weights_N / total if num_banks else weights_N


def linear_debtrank(  # noqa: PLR0913 - three inputs, the rest by keyword
    exposures: Any,
    capital: ArrayLike,
    shock: ArrayLike,
    *,
    loss_given_default: float | ArrayLike = 1.0,
    tolerance: float = 1e-12,
    max_rounds: int = 1_000_000,
    stop_after: int | None = None,
) -> DebtRank:
    """Shock some banks' capital and follow the stress to its limit.

    Each round adds leverage_ij (h_j(t) - h_j(t-1)) to bank i, leverage_ij = exposure_ij / capital_i,
    capped at 1. Summed over the rounds this is h(t) = min(1, shock + leverage h(t-1)) from h(0) = shock,
    which rises to the least fixed point. Networks with cycles may need thousands of rounds; once the
    capped banks stay the same, the linear equations of the others are solved instead. Their solution is
    taken only if it is a fixed point, and then it is the least: the least fixed point lies at or below
    it, obeys the same equations, and these have one solution.

    Args:
        exposures: (N, N), sparse or dense; `exposures[i, j]` is what bank i lent to bank j.
        capital: (N,); a bank with none, or less than none, is under full stress from the start.
        shock: (N,), share of the capital lost at the start, in [0, 1].
        loss_given_default: Share of a claim that is lost at full stress of the debtor, in [0, 1]: one, or one
            per debtor, (N,).
        tolerance: The rounds end when none moves a stress by more.
        max_rounds: Guard.
        stop_after: Return the state after so many rounds, without solving.

    Raises:
        BadInputError: An exposure is negative, a number NaN or infinite, a bank lends to itself, a share is
            none, or the guard was reached.
        MismatchError: Another number of capitals, shocks or losses than banks.

    Source: Bardoscia, Battiston, Caccioli & Caldarelli 2015.
    """
    exposures_NN = lost_on_default(checked_matrix(exposures, "exposures"), loss_given_default)
    capital_N = checked_capital(capital, exposures_NN.shape[0])
    shock_N = np.where(capital_N > 0, checked_vector(shock, len(capital_N), "shock", highest=1.0), 1.0)
    leverage_NN = leverage(exposures_NN, capital_N)
    if stop_after is not None and stop_after < 0:
        raise BadInputError(field="stop_after", value=stop_after, remedy="Give a number of rounds, or None.")
    if stop_after is None:
        stress_N, rounds = ascend(leverage_NN, shock_N, shock_N, tolerance=tolerance, max_rounds=max_rounds)
    else:
        stress_N, rounds = shock_N, stop_after
        for _ in range(stop_after):
            stress_N = np.minimum(1.0, shock_N + leverage_NN @ stress_N)
    mapped_N = np.minimum(1.0, shock_N + leverage_NN @ stress_N)
    return DebtRank(
        stress_N=stress_N,
        additional_N=stress_N - shock_N,
        losses_N=np.maximum(capital_N, 0.0) * shock_N + exposures_NN @ stress_N,
        defaulted_N=stress_N >= FULL,
        rounds=rounds,
        residual=float(np.abs(mapped_N - stress_N).max(initial=0.0)),
    )


def leverage(exposures_NN: csr_array, capital_N: Doubles) -> csr_array:
    """Return exposures as shares of the lender's capital, (N, N); 0 for a bank without any to lose.

    Raises:
        BadInputError: A capital is too small to divide by.
    """
    per_row = np.repeat(np.where(capital_N > 0, capital_N, np.inf), np.diff(exposures_NN.indptr))
    with np.errstate(over="ignore"):
        shares = exposures_NN.data / per_row
    if not np.isfinite(shares).all():
        remedy = "Capital and exposures lie too far apart for double precision."
        raise BadInputError(field="capital", value=float(per_row.min()), remedy=remedy)
    return csr_array((shares, exposures_NN.indices, exposures_NN.indptr), shape=exposures_NN.shape)


def ascend(
    leverage_NN: csr_array, shock_N: Doubles, start_N: Doubles, *, tolerance: float, max_rounds: int
) -> tuple[Doubles, int]:
    """Return the least fixed point of h = min(1, shock + leverage h) and the rounds it took.

    `start_N` is the shock or any later round from it.
    """
    stress_N, next_leap, moved = start_N, _FIRST_LEAP, np.inf
    for number in range(1, max_rounds + 1):
        risen_N = np.maximum(stress_N, np.minimum(1.0, shock_N + leverage_NN @ stress_N))
        moved = (risen_N - stress_N).max(initial=0.0)
        stress_N = risen_N
        if moved <= tolerance / 1000:
            return stress_N, number
        if number >= next_leap:
            # Doubling the distance keeps the cost of leaps that come too early below that of the rounds.
            next_leap = 2 * number
            leapt_N = _leap(leverage_NN, shock_N, stress_N, tolerance)
            if leapt_N is not None:
                return leapt_N, number
    if moved <= tolerance:
        return stress_N, max_rounds
    remedy = f"Allow more: the last round still moved a stress by {moved:.1e}."
    raise BadInputError(field="max_rounds", value=max_rounds, remedy=remedy)


def _leap(leverage_NN: csr_array, shock_N: Doubles, stress_N: Doubles, tolerance: float) -> Doubles | None:
    """Return the fixed point with today's capped banks, or None where there is none."""
    # A bank the stress has not reached by now is left to further rounds, if it ever does.
    below_U = np.flatnonzero(stress_N < 1)
    rows_UN = leverage_NN[below_U]
    right_U = shock_N[below_U] + rows_UN @ np.where(stress_N < 1, 0.0, 1.0)
    solved_U = solve_quickly(rows_UN[:, below_U], right_U, stress_N[below_U])
    if solved_U is None or (solved_U < stress_N[below_U] - _ROUNDING).any() or (solved_U > 2 - FULL).any():
        return None
    leapt_N = np.ones_like(stress_N)
    leapt_N[below_U] = np.clip(solved_U, stress_N[below_U], 1.0)
    mapped_N = np.minimum(1.0, shock_N + leverage_NN @ leapt_N)
    return leapt_N if np.abs(mapped_N - leapt_N).max() <= tolerance else None
