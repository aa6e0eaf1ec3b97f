"""A clearing vector and what it means for each bank.

N is banks. The solvers work with x = payments / obligations, in [0, 1], so that every tolerance is
relative to a bank's own obligations however unequal the banks are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from warmprompt.risk.contagion.checks import Bools, Counts, Doubles
from warmprompt.risk.contagion.obligations import SLACK, DefaultCosts, Obligations
from warmprompt.risk.contagion.waves import waves_among


@dataclass(frozen=True, kw_only=True, eq=False)
class Clearing:
    """Who pays what when all obligations fall due at once; amounts in the unit of the input.

    Money is conserved: assets = equity + lost + what is paid to outside, summed over the banks.

    Attributes:
        payments_N: What each bank pays, to banks and to outside together.
        received_N: What each bank receives from the others.
        shortfall_N: Owed less paid.
        equity_N: What is left to the owners, at least 0.
        lost_N: Costs of default: what of a defaulting bank's assets is not recovered.
        defaulted_N: Banks that do not pay in full.
        iterations: Sweeps, linear systems, or simplex steps, by solver.
        residual: Largest distance to the clearing equation, as a share of a bank's obligations.
        solver: Name of the solver.
        network: Who owes whom.
        assets_N: Outside assets.
        costs: Recovery rates in default.
    """

    payments_N: Doubles
    received_N: Doubles
    shortfall_N: Doubles
    equity_N: Doubles
    lost_N: Doubles
    defaulted_N: Bools
    iterations: int
    residual: float
    solver: str
    network: Obligations
    assets_N: Doubles
    costs: DefaultCosts

    @cached_property
    def round_N(self) -> Counts:
        """In which wave (from 1) each bank defaults, 0 for none; the same whatever solver found it.

        Wave 1 holds the banks that fail although everybody pays them in full, wave r those that fail
        because of waves before r. Computed when first asked for.

        Source: Eisenberg & Noe 2001, section 3.
        """
        return waves_among(self.network, self.assets_N, self.costs, self.defaulted_N)

    @property
    def num_rounds(self) -> int:
        """The last wave, 0 where nobody defaults."""
        return int(self.round_N.max(initial=0))

    @property
    def num_defaults(self) -> int:
        """How many banks do not pay in full."""
        return int(self.defaulted_N.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class ClearingSolution:
    """What a solver hands to `clearing_of` besides the shares; fields as in `Clearing`."""

    defaulted_N: Bools
    iterations: int
    solver: str


def next_shares(received_N: Doubles, cash_N: Doubles, costs: DefaultCosts) -> Doubles:
    """Return the share of its obligations that each bank can pay: one step of the clearing map.

    Args:
        received_N: `cover_NN @ share_N`: receipts as a share of the receiver's obligations.
        cash_N: Outside assets as a share of obligations; both may be (N, B), one column per case.
        costs: Recovery rates.

    Source: Rogers & Veraart 2013, section 2; with both rates 1 the map of Eisenberg & Noe 2001, section 2.
    """
    short_N = cash_N + received_N < 1 - SLACK
    return np.where(short_N, costs.recovered(cash_N, received_N), 1.0)


def clearing_of(
    network: Obligations, assets_N: Doubles, share_N: Doubles, costs: DefaultCosts, *, found: ClearingSolution
) -> Clearing:
    """Turn the shares paid into a `Clearing`."""
    received_N = network.claims_NN @ share_N
    payments_N = share_N * network.owed_N
    defaulted_N = found.defaulted_N
    equity_N = np.where(defaulted_N, 0.0, np.maximum(0.0, assets_N + received_N - payments_N))
    lost_N = np.where(defaulted_N, (1 - costs.alpha) * assets_N + (1 - costs.beta) * received_N, 0.0)
    owing_N = network.owed_N > 0
    cover_N = np.divide(received_N, network.owed_N, out=np.zeros_like(received_N), where=owing_N)
    mapped_N = next_shares(cover_N, network.cash_cover(assets_N), costs)
    residual = np.abs(mapped_N - share_N)[owing_N].max(initial=0.0)
    return Clearing(
        payments_N=payments_N,
        received_N=received_N,
        shortfall_N=network.owed_N - payments_N,
        equity_N=equity_N,
        lost_N=lost_N,
        defaulted_N=defaulted_N,
        iterations=found.iterations,
        residual=float(residual),
        solver=found.solver,
        network=network,
        assets_N=assets_N,
        costs=costs,
    )
