"""Clearing as a linear programme, solved by HiGHS. N is banks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.sparse import eye_array

from warmprompt.errors import NotFiniteError
from warmprompt.risk.contagion.clearing import Clearing, ClearingSolution, clearing_of
from warmprompt.risk.contagion.obligations import NO_COSTS, Obligations

# The smallest tolerance HiGHS takes.
_FEASIBLE = 1e-10
# A share below 1 by less is full payment that the programme's tolerance blurs.
_FULL = 1e-9


def clear_by_linear_programme(network: Obligations, assets: ArrayLike) -> Clearing:
    """Return the greatest clearing vector as the maximum of the sum of shares paid.

    Maximise sum x subject to 0 <= x <= 1 and x <= cash + cover x. Any objective that rises with every
    payment has the greatest clearing vector as its only maximum. Costs of default make the map jump,
    which no linear programme can express; use another solver for them.

    Args:
        network: Who owes whom.
        assets: (N,), what each bank owns outside the network, at least 0.

    Raises:
        BadInputError: An asset is negative, NaN or infinite.
        MismatchError: Another number of assets than banks.
        NotFiniteError: HiGHS gave up.

    Source: Eisenberg & Noe 2001, lemma 4.
    """
    assets_N = network.assets(assets)
    share_N, num_steps = np.ones(network.num_banks), 0
    if network.num_banks:
        solved = linprog(
            -np.ones(network.num_banks),
            A_ub=(eye_array(network.num_banks, format="csr") - network.cover_NN).tocsc(),
            b_ub=network.cash_cover(assets_N),
            bounds=(0.0, 1.0),
            method="highs",
            options={"primal_feasibility_tolerance": _FEASIBLE, "dual_feasibility_tolerance": _FEASIBLE},
        )
        if solved.x is None:
            remedy = "HiGHS found no solution; use clear_by_fixed_point."
            raise NotFiniteError(field="linear programme", value=solved.message, remedy=remedy)
        share_N, num_steps = np.clip(solved.x, 0.0, 1.0) + 0.0, int(solved.nit)
    defaulted_N = share_N < 1 - _FULL
    found = ClearingSolution(defaulted_N=defaulted_N, iterations=num_steps, solver="linear programme")
    return clearing_of(network, assets_N, share_N, NO_COSTS, found=found)
