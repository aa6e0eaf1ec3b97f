"""Clearing by fictitious default: assume who fails, solve, see who else fails. N is banks, D in default."""

from __future__ import annotations

from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from warmprompt.risk.contagion.checks import Doubles
from warmprompt.risk.contagion.clearing import Clearing, ClearingSolution, clearing_of
from warmprompt.risk.contagion.linear import scaled_rows, solve_directly
from warmprompt.risk.contagion.obligations import NO_COSTS, DefaultCosts, Obligations
from warmprompt.risk.contagion.waves import default_waves


def clear_by_fictitious_default(
    network: Obligations, assets: ArrayLike, *, costs: DefaultCosts = NO_COSTS
) -> Clearing:
    """Return the greatest clearing vector by at most N sparse linear systems, solved by elimination.

    Args:
        network: Who owes whom.
        assets: (N,), what each bank owns outside the network, at least 0.
        costs: Recovery rates in default; with them this is the greatest clearing vector algorithm.

    Raises:
        BadInputError: An asset is negative, NaN or infinite.
        MismatchError: Another number of assets or rates than banks.
        NotFiniteError: A round's equations have no solution in double precision.

    Source: Eisenberg & Noe 2001, section 3; Rogers & Veraart 2013, section 3.
    """
    assets_N = network.assets(assets)
    costs.check_length(network.num_banks)
    share_N, wave_N = default_waves(network, assets_N, costs, _eliminate)
    found = ClearingSolution(
        defaulted_N=wave_N > 0, iterations=int(wave_N.max(initial=0)), solver="fictitious default"
    )
    return clearing_of(network, assets_N, share_N, costs, found=found)


def _eliminate(
    matrix_DD: csr_array, right_D: Doubles, _start_D: Doubles, scale: float | Doubles
) -> Doubles | None:
    return solve_directly(scaled_rows(matrix_DD, scale), right_D)
