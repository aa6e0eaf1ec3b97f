"""Waves of default: who fails first, and who fails because of them. N is banks, D in default."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.sparse import csr_array

from warmprompt.errors import NotFiniteError
from warmprompt.risk.contagion.checks import Bools, Counts, Doubles
from warmprompt.risk.contagion.linear import solve_quickly
from warmprompt.risk.contagion.obligations import SLACK, DefaultCosts, Obligations

# Solves (I - scale A) x = b from a start, all of the banks in default.
Solve = Callable[[csr_array, Doubles, Doubles, float | Doubles], Doubles | None]


def default_waves(
    network: Obligations, assets_N: Doubles, costs: DefaultCosts, solve: Solve, among_N: Bools | None = None
) -> tuple[Doubles, Counts]:
    """Return the share of its obligations that each bank pays, and in which wave it defaults, 0 for none.

    Wave 1 holds the banks that fail although everybody pays them in full, wave r those that fail because
    of waves before r.

    Args:
        network: Who owes whom.
        assets_N: Outside assets.
        costs: Recovery rates in default.
        solve: Solver of a wave's equations.
        among_N: Banks that may default; all when left out.

    Raises:
        NotFiniteError: A wave's equations have no solution in double precision.

    Source: Eisenberg & Noe 2001, section 3; Rogers & Veraart 2013, section 3.
    """
    cash_N = network.cash_cover(assets_N)
    share_N = np.ones(network.num_banks)
    wave_N: Counts = np.zeros(network.num_banks, dtype=np.int64)
    number = 0
    while True:
        newly_N = (cash_N + network.cover_NN @ share_N < 1 - SLACK) & (wave_N == 0)
        if among_N is not None:
            newly_N &= among_N
        if not newly_N.any():
            return share_N, wave_N
        number += 1
        wave_N[newly_N] = number
        banks_D = np.flatnonzero(wave_N)
        rows_DN = network.cover_NN[banks_D]
        others_D = rows_DN @ np.where(wave_N > 0, 0.0, 1.0)
        right_D = costs.recovered(cash_N[banks_D], others_D, banks_D)
        solved_D = solve(rows_DN[:, banks_D], right_D, share_N[banks_D], costs.beta_of(banks_D))
        if solved_D is None:
            remedy = "Amounts lie too far apart for double precision; drop the smallest."
            raise NotFiniteError(field="equations of defaulting banks", value=len(banks_D), remedy=remedy)
        share_N = share_N.copy()
        share_N[banks_D] = np.clip(solved_D, 0.0, 1.0)


def waves_among(network: Obligations, assets_N: Doubles, costs: DefaultCosts, defaulted_N: Bools) -> Counts:
    """Return in which wave each bank of a known set defaults, 0 for the others.

    Banks of the set that no wave reaches come in one more: they wait for one another (`least_clearing`).
    """

    def solve(
        matrix_DD: csr_array, right_D: Doubles, start_D: Doubles, scale: float | Doubles
    ) -> Doubles | None:
        return solve_quickly(matrix_DD, right_D, start_D, scale=scale)

    _, wave_N = default_waves(network, assets_N, costs, solve, defaulted_N)
    wave_N[defaulted_N & (wave_N == 0)] = wave_N.max(initial=0) + 1
    return wave_N
