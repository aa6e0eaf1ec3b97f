"""Clearing by fictitious default: assume who fails, solve, see who else fails. N is banks, D in default."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from warmprompt.errors import NotFiniteError
from warmprompt.risk.contagion.checks import Counts
from warmprompt.risk.contagion.clearing import SLACK, Clearing, ClearingSolution, clearing_of
from warmprompt.risk.contagion.linear import solve_directly
from warmprompt.risk.contagion.obligations import NO_COSTS, DefaultCosts, Obligations


def clear_by_fictitious_default(
    network: Obligations, assets: ArrayLike, *, costs: DefaultCosts = NO_COSTS
) -> Clearing:
    """Return the greatest clearing vector by at most N sparse linear systems, solved by elimination.

    Round 1 holds the banks that fail although everybody pays them in full, round r those that fail
    because of rounds before r. `round_N` is therefore each bank's distance from the first failures.

    Args:
        network: Who owes whom.
        assets: (N,), what each bank owns outside the network, at least 0.
        costs: Recovery rates in default; with them this is the greatest clearing vector algorithm.

    Raises:
        BadInputError: An asset is negative, NaN or infinite.
        MismatchError: Another number of assets than banks.
        NotFiniteError: A round's equations have no solution in double precision.

    Source: Eisenberg & Noe 2001, section 3; Rogers & Veraart 2013, section 3.
    """
    assets_N = network.assets(assets)
    cash_N = network.cash_cover(assets_N)
    share_N = np.ones(network.num_banks)
    defaulted_N = np.zeros(network.num_banks, dtype=bool)
    round_N: Counts = np.zeros(network.num_banks, dtype=np.int64)
    num_solved = 0
    while True:
        short_N = cash_N + network.cover_NN @ share_N < 1 - SLACK
        newly_N = short_N & ~defaulted_N
        if not newly_N.any():
            break
        num_solved += 1
        defaulted_N |= newly_N
        round_N[newly_N] = num_solved
        banks_D = np.flatnonzero(defaulted_N)
        rows_DN = network.cover_NN[banks_D]
        others_D = rows_DN @ np.where(defaulted_N, 0.0, 1.0)
        right_D = costs.alpha * cash_N[banks_D] + costs.beta * others_D
        solved_D = solve_directly(costs.beta * rows_DN[:, banks_D], right_D)
        if solved_D is None:
            remedy = "Amounts lie too far apart for double precision; use clear_by_fixed_point."
            raise NotFiniteError(field="equations of defaulting banks", value=len(banks_D), remedy=remedy)
        share_N = share_N.copy()
        share_N[banks_D] = np.clip(solved_D, 0.0, 1.0)
    found = ClearingSolution(
        defaulted_N=defaulted_N, round_N=round_N, iterations=num_solved, solver="fictitious default"
    )
    return clearing_of(network, assets_N, share_N, costs, found=found)
