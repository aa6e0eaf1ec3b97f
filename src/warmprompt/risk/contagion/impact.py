"""Every bank shocked in turn: what it costs the others, and what the others cost it.

N is banks, B shocks worked on together. The three models differ only in how they answer a shock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import (
    Bools,
    Counts,
    Doubles,
    checked_capital,
    checked_matrix,
    checked_share,
    lost_on_default,
)
from warmprompt.risk.contagion.debtrank import FULL, leverage, normalised
from warmprompt.risk.contagion.fixed_point import clear_by_fixed_point, descend_together
from warmprompt.risk.contagion.furfine import cascade_together
from warmprompt.risk.contagion.obligations import NO_COSTS, SLACK, DefaultCosts, Obligations

# Maps which banks are shocked, a case per column (N, B), to each bank's loss as a share of its capital and
# whether it fails.
Response = Callable[[Bools], tuple[Doubles, Bools]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Impacts:
    """Systemic impact and vulnerability of every bank; the shocked bank's own loss counts in neither.

    What happens without any shock, because banks have no capital to begin with, counts in neither, too.

    Attributes:
        impact_N: Loss of all other banks when this one is shocked, as a share of the total weight.
        failures_N: How many others fail when this one is shocked.
        vulnerability_N: This bank's loss as a share of its capital, on average over the shocks of the others.
        failed_by_N: By how many single shocks of others this bank fails.
    """

    impact_N: Doubles
    failures_N: Counts
    vulnerability_N: Doubles
    failed_by_N: Counts


def debtrank_impacts(
    exposures: Any,
    capital: ArrayLike,
    *,
    loss_given_default: float | ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    tolerance: float = 1e-12,
    batch_size: int = 256,
) -> Impacts:
    """Wipe out each bank's capital in turn and spread the stress by linear DebtRank.

    Args:
        exposures: (N, N); rows lend to columns.
        capital: (N,); a bank with none is under full stress from the start and has none to lose.
        loss_given_default: As in `linear_debtrank`.
        weights: (N,), a bank's weight in the impact; its capital when left out.
        tolerance: As in `linear_debtrank`.
        batch_size: Shocks worked on together; memory is about 4 N of it in doubles.

    Raises:
        BadInputError: As `linear_debtrank`, or a weight is wrong.
        MismatchError: Another number of capitals or weights than banks.
    """
    exposures_NN = lost_on_default(checked_matrix(exposures, "exposures"), loss_given_default)
    capital_N = checked_capital(capital, exposures_NN.shape[0])
    leverage_NN = leverage(exposures_NN, capital_N)
    # Imported here: the compiler takes longer to load than most clearing problems to solve.
    from warmprompt.risk.contagion.sweeps import ascend_together

    def respond(shocked_NB: Bools) -> tuple[Doubles, Bools]:
        shock_NB = (shocked_NB | (capital_N <= 0)[:, None]).astype(np.float64)
        stress_NB = ascend_together(leverage_NN, shock_NB, tolerance=tolerance)
        return stress_NB, stress_NB >= FULL

    return _each_in_turn(_beyond_the_start(respond, capital_N), np.maximum(capital_N, 0), weights, batch_size)


def furfine_impacts(
    exposures: Any,
    capital: ArrayLike,
    *,
    loss_given_default: float | ArrayLike = 1.0,
    weights: ArrayLike | None = None,
    batch_size: int = 256,
) -> Impacts:
    """Let each bank fail in turn and follow the threshold cascade; losses are capped at the capital.

    Args:
        exposures: (N, N); rows lend to columns.
        capital: (N,); a bank with none fails in round 0 of every case and has none to lose.
        loss_given_default: As in `furfine_cascade`.
        weights: (N,), a bank's weight in the impact; its capital when left out.
        batch_size: Shocks worked on together.

    Raises:
        BadInputError: As `furfine_cascade`, or a weight is wrong.
        MismatchError: Another number of capitals or weights than banks.
    """
    exposures_NN = checked_matrix(exposures, "exposures")
    capital_N = checked_capital(capital, exposures_NN.shape[0])
    losses_NN = lost_on_default(exposures_NN, loss_given_default)

    def respond(shocked_NB: Bools) -> tuple[Doubles, Bools]:
        round_NB, lost_NB = cascade_together(losses_NN, capital_N, shocked_NB)
        share_NB = np.zeros(lost_NB.shape)
        losing_NB = (lost_NB > 0) & (capital_N > 0)[:, None]
        np.divide(lost_NB, capital_N[:, None], out=share_NB, where=losing_NB)
        return np.minimum(1.0, share_NB), round_NB >= 0

    return _each_in_turn(_beyond_the_start(respond, capital_N), np.maximum(capital_N, 0), weights, batch_size)


def clearing_impacts(
    network: Obligations,
    assets: ArrayLike,
    *,
    lost_share: float = 1.0,
    costs: DefaultCosts = NO_COSTS,
    weights: ArrayLike | None = None,
    batch_size: int = 256,
) -> Impacts:
    """Take a share of each bank's outside assets in turn and clear again.

    A bank's capital is its equity when nobody is shocked; banks that default already then have none to
    lose and count neither as losing nor as failing.

    Args:
        network: Who owes whom.
        assets: (N,), outside assets before the shock.
        lost_share: Share of the shocked bank's outside assets that is lost, in (0, 1].
        costs: Recovery rates in default.
        weights: (N,), a bank's weight in the impact; its equity when left out.
        batch_size: Shocks worked on together.

    Raises:
        BadInputError: As `clear_by_fixed_point`, or a share or weight is wrong.
        MismatchError: Another number of assets or weights than banks.
    """
    assets_N = network.assets(assets)
    kept = 1 - checked_share(lost_share, "lost_share", above_zero=True)
    before = clear_by_fixed_point(network, assets_N, costs=costs)
    start_N = np.ones(network.num_banks)
    np.divide(before.payments_N, network.owed_N, out=start_N, where=before.defaulted_N)

    def respond(shocked_NB: Bools) -> tuple[Doubles, Bools]:
        assets_NB = np.repeat(assets_N[:, None], shocked_NB.shape[1], axis=1)
        assets_NB[shocked_NB] *= kept
        cash_NB = np.ones(assets_NB.shape)
        poor_NB = assets_NB < network.owed_N[:, None]
        np.divide(assets_NB, network.owed_N[:, None], out=cash_NB, where=poor_NB)
        share_NB = descend_together(network.cover_NN, cash_NB, start_N, costs=costs)
        worth_NB = assets_NB + network.claims_NN @ share_NB - network.owed_N[:, None]
        equity_N = before.equity_N[:, None]
        lost_NB = np.zeros(assets_NB.shape)
        np.divide(equity_N - np.maximum(0.0, worth_NB), equity_N, out=lost_NB, where=equity_N > 0)
        short_NB = worth_NB < -SLACK * network.owed_N[:, None]
        return np.clip(lost_NB, 0.0, 1.0), short_NB & ~before.defaulted_N[:, None]

    return _each_in_turn(respond, before.equity_N, weights, batch_size)


def _beyond_the_start(respond: Response, capital_N: Doubles) -> Response:
    """Return the response beyond what happens anyway because banks have no capital to begin with."""
    if (capital_N > 0).all():
        return respond
    start_lost_N1, start_failed_N1 = respond(np.zeros((len(capital_N), 1), dtype=bool))

    def beyond(shocked_NB: Bools) -> tuple[Doubles, Bools]:
        lost_NB, failed_NB = respond(shocked_NB)
        return np.maximum(0.0, lost_NB - start_lost_N1), failed_NB & ~start_failed_N1

    return beyond


def _each_in_turn(
    respond: Response, capital_N: Doubles, weights: ArrayLike | None, batch_size: int
) -> Impacts:
    """Collect the responses to all single shocks, a batch at a time."""
    num_banks = len(capital_N)
    if batch_size < 1:
        raise BadInputError(field="batch_size", value=batch_size, remedy="Give a whole number above 0.")
    selected = capital_N if weights is None else weights
    # Where nobody has capital, nobody can lose any: the weights then make no difference.
    weights_N = normalised(selected, num_banks) if np.any(selected) or weights is not None else capital_N
    impact_N, vulnerability_N = np.zeros(num_banks), np.zeros(num_banks)
    failures_N, failed_by_N = np.zeros(num_banks, dtype=np.int64), np.zeros(num_banks, dtype=np.int64)
    for start in range(0, num_banks, batch_size):
        shocked_B = np.arange(start, min(start + batch_size, num_banks))
        own = shocked_B, np.arange(len(shocked_B))
        shocked_NB = np.zeros((num_banks, len(shocked_B)), dtype=bool)
        shocked_NB[own] = True
        lost_NB, failed_NB = respond(shocked_NB)
        lost_NB[own], failed_NB[own] = 0.0, False
        impact_N[shocked_B] = weights_N @ lost_NB
        failures_N[shocked_B] = failed_NB.sum(axis=0)
        vulnerability_N += lost_NB.sum(axis=1)
        failed_by_N += failed_NB.sum(axis=1)
    return Impacts(
        impact_N=impact_N,
        failures_N=failures_N,
        vulnerability_N=vulnerability_N / max(1, num_banks - 1),
        failed_by_N=failed_by_N,
    )
