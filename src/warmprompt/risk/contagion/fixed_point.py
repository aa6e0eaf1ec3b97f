"""Clearing by iteration: down from full payment to the greatest clearing vector, or up from nothing.

N is banks, D those in default, B cases solved together. Shares are payments / obligations.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import Bools, Doubles
from warmprompt.risk.contagion.clearing import Clearing, ClearingSolution, clearing_of, next_shares
from warmprompt.risk.contagion.linear import solve_quickly
from warmprompt.risk.contagion.obligations import NO_COSTS, SLACK, DefaultCosts, Obligations

TOLERANCE = 1e-10
MAX_SWEEPS = 100_000
# A leap costs as much as some twenty sweeps and is wasted if another bank then fails. So it waits until
# the same banks are short and little moves, or until nothing new has happened for this many sweeps.
_LITTLE = 1e-4
_PATIENCE = 10
# A leap may end this far above where it began before it is taken for a failed solution.
_ROUNDING = 1e-9


def clear_by_fixed_point(
    network: Obligations,
    assets: ArrayLike,
    *,
    costs: DefaultCosts = NO_COSTS,
    tolerance: float = TOLERANCE,
    max_sweeps: int = MAX_SWEEPS,
) -> Clearing:
    """Return the greatest clearing vector, by iteration from full payment with exact leaps.

    A sweep applies the clearing map F to all banks. Whenever successive sweeps find the same banks D short,
    the linear equations of D are solved and the iteration leaps to the solution; it ends when F then
    finds nobody else short and moves nobody by more than `tolerance`.

    Why the result is the greatest fixed point x*. F is monotone, so iterates from full payment fall
    and stay at or above x*; therefore every bank that is short at an iterate is short at x*. Let y solve
    D's equations with all others paying in full. At x* the banks of D obey the same equations and the
    others pay at most in full, so x* <= y, because (I - A_DD)^-1 = I + A_DD + ... >= 0. And the iterate
    x, with F(x) <= x, satisfies x_D >= A_DD x_D + b, so y <= x. A leap thus stays between x* and x,
    and where F(y) = y, y = x*. The inverse exists: a group within D that owes only to itself would have
    all its payments as receipts, so by their sum its members could not all be short.

    Args:
        network: Who owes whom.
        assets: (N,), what each bank owns outside the network, at least 0.
        costs: Recovery rates in default (Rogers & Veraart); without them the model of Eisenberg & Noe.
        tolerance: Largest move of the last sweep, as a share of a bank's obligations.
        max_sweeps: Guard against a network that converges too slowly.

    Raises:
        BadInputError: An asset is negative, NaN or infinite, or the guard was reached.
        MismatchError: Another number of assets or rates than banks.

    Source: Eisenberg & Noe 2001, theorem 1; Rogers & Veraart 2013, section 3.
    """
    assets_N = network.assets(assets)
    costs.check_length(network.num_banks)
    cash_N = network.cash_cover(assets_N)
    share_N, found = descend(
        network.cover_NN,
        cash_N,
        np.ones(network.num_banks),
        costs=costs,
        tolerance=tolerance,
        max_sweeps=max_sweeps,
    )
    return clearing_of(network, assets_N, share_N, costs, found=found)


def descend(
    cover_NN: csr_array,
    cash_N: Doubles,
    start_N: Doubles,
    *,
    costs: DefaultCosts,
    tolerance: float = TOLERANCE,
    max_sweeps: int = MAX_SWEEPS,
) -> tuple[Doubles, ClearingSolution]:
    """Return the greatest fixed point at or below `start_N`, which must be one that the map does not raise.

    Full payment is such a start, and so is the clearing vector of the same network with more assets.
    """
    share_N = start_N
    short_N = np.zeros(len(start_N), dtype=bool)
    steady, leapt, moved = 0, False, np.inf
    for sweep in range(1, max_sweeps + 1):
        received_N = cover_NN @ share_N
        now_short_N = cash_N + received_N < 1 - SLACK
        # Rounding must not raise what exact arithmetic lowers, nor rescue a bank that was short.
        now_short_N |= short_N
        paid_N = np.where(now_short_N, costs.recovered(cash_N, received_N), 1.0)
        paid_N = np.minimum(paid_N, share_N)
        same = np.array_equal(now_short_N, short_N)
        steady, leapt = (steady + 1, leapt) if same else (0, False)
        moved = (share_N - paid_N).max(initial=0.0)
        share_N, short_N = paid_N, now_short_N
        if moved <= tolerance and (leapt or not short_N.any()):
            return share_N, ClearingSolution(defaulted_N=short_N, iterations=sweep, solver="fixed point")
        if not leapt and (steady >= _PATIENCE or (steady > 0 and moved <= _LITTLE)):
            leapt = True
            share_N = _leap(cover_NN, cash_N, share_N, short_N, costs)
    remedy = f"Allow more: the last sweep still moved a bank by {moved:.1e} of its obligations."
    raise BadInputError(field="max_sweeps", value=max_sweeps, remedy=remedy)


def _leap(
    cover_NN: csr_array, cash_N: Doubles, share_N: Doubles, short_N: Bools, costs: DefaultCosts
) -> Doubles:
    """Return the shares that solve the equations of the banks in default, or `share_N` where that fails."""
    banks_D = np.flatnonzero(short_N)
    rows_DN = cover_NN[banks_D]
    right_D = costs.recovered(cash_N[banks_D], rows_DN @ np.where(short_N, 0.0, share_N), banks_D)
    scale = costs.beta_of(banks_D)
    solved_D = solve_quickly(rows_DN[:, banks_D], right_D, share_N[banks_D], scale=scale)
    if solved_D is None or (solved_D < -_ROUNDING).any() or (solved_D > share_N[banks_D] + _ROUNDING).any():
        return share_N
    leapt_N = share_N.copy()
    leapt_N[banks_D] = np.clip(solved_D, 0.0, share_N[banks_D])
    return leapt_N


def descend_together(
    cover_NN: csr_array, cash_NB: Doubles, start_N: Doubles, *, costs: DefaultCosts, num_sweeps: int = 60
) -> Doubles:
    """Return the greatest fixed points at or below `start_N` for many cases, (N, B).

    Every sweep is one product with all cases that still move; those that still do after `num_sweeps`
    are finished one by one with leaps.
    """
    share_NB = np.repeat(start_N[:, None], cash_NB.shape[1], axis=1)
    moving_B = np.arange(cash_NB.shape[1])
    for _ in range(num_sweeps):
        before_NB = share_NB[:, moving_B]
        after_NB = np.minimum(before_NB, next_shares(cover_NN @ before_NB, cash_NB[:, moving_B], costs))
        share_NB[:, moving_B] = after_NB
        moving_B = moving_B[(before_NB - after_NB).max(axis=0, initial=0.0) > TOLERANCE / 100]
        if not moving_B.size:
            break
    for case in moving_B:
        share_NB[:, case], _ = descend(cover_NN, cash_NB[:, case], share_NB[:, case], costs=costs)
    return share_NB


def least_clearing(
    network: Obligations,
    assets: ArrayLike,
    *,
    costs: DefaultCosts = NO_COSTS,
    tolerance: float = 1e-15,
    max_sweeps: int = MAX_SWEEPS,
) -> Clearing:
    """Return the least clearing vector, by iteration from no payment at all.

    With costs of default, and in closed groups without assets, banks may fail only because they wait
    for one another: then the least and the greatest clearing vector differ. The iteration rises to the
    least fixed point of the map that calls a bank solvent if its means exceed its obligations, or if its
    outside assets alone reach them. (If means that just reach them sufficed, the map would jump at its
    own limit, as in example 3.3.)

    Args:
        network: Who owes whom.
        assets: (N,), what each bank owns outside the network, at least 0.
        costs: Recovery rates in default.
        tolerance: Largest move of the last sweep, as a share of a bank's obligations.
        max_sweeps: Guard.

    Raises:
        BadInputError: An asset is negative, NaN or infinite, or the guard was reached.
        MismatchError: Another number of assets or rates than banks.

    Source: Rogers & Veraart 2013, section 3, example 3.3.
    """
    assets_N = network.assets(assets)
    costs.check_length(network.num_banks)
    cash_N = network.cash_cover(assets_N)

    def raised(share_N: Doubles) -> Doubles:
        received_N = network.cover_NN @ share_N
        short_N = (cash_N < 1) & (cash_N + received_N <= 1 + SLACK)
        paid_N = np.where(short_N, costs.recovered(cash_N, received_N), 1.0)
        return np.minimum(1.0, np.maximum(share_N, paid_N))

    share_N, moved = np.where(network.owed_N > 0, 0.0, 1.0), np.inf
    for sweep in range(1, max_sweeps + 1):
        risen_N = raised(share_N)
        moved = (risen_N - share_N).max(initial=0.0)
        share_N = risen_N
        if moved <= tolerance:
            short_N = share_N < 1 - SLACK
            found = ClearingSolution(defaulted_N=short_N, iterations=sweep, solver="least fixed point")
            cleared = clearing_of(network, assets_N, share_N, costs, found=found)
            residual = (raised(share_N) - share_N).max(initial=0.0)
            return replace(cleared, residual=float(residual))
    remedy = f"Allow more: the last sweep still moved a bank by {moved:.1e} of its obligations."
    raise BadInputError(field="max_sweeps", value=max_sweeps, remedy=remedy)
