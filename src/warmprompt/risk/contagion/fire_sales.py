"""Overlapping portfolios: who sells what a shock forces it to sell depresses what others hold.

N is banks, K assets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from warmprompt.errors import BadInputError, MismatchError
from warmprompt.risk.contagion.checks import Bools, Doubles, checked_vector


@dataclass(frozen=True, kw_only=True, eq=False)
class FireSales:
    """What a fall of prices does directly, and what the sales that follow it do; money in the input's unit.

    Attributes:
        direct_loss_N: What each bank loses by the shock itself.
        sold_N: What each bank sells to get back to its leverage.
        sold_K: What is sold of each asset.
        price_fall_K: Share of each price that these sales take.
        indirect_loss_N: What each bank loses by all sales.
        direct_vulnerability_N: The direct loss as a share of equity.
        indirect_vulnerability_N: The loss by sales as a share of equity.
        systemicness_N: What the bank's own sales cost all banks, as a share of all equity; they sum to
            the aggregate vulnerability.
        insolvent_N: Banks whose equity the shock itself uses up; they sell all they have.
    """

    direct_loss_N: Doubles
    sold_N: Doubles
    sold_K: Doubles
    price_fall_K: Doubles
    indirect_loss_N: Doubles
    direct_vulnerability_N: Doubles
    indirect_vulnerability_N: Doubles
    systemicness_N: Doubles
    insolvent_N: Bools

    @property
    def aggregate_vulnerability(self) -> float:
        """What all sales cost all banks, as a share of all equity."""
        return float(self.systemicness_N.sum())


def fire_sales(
    holdings: ArrayLike, equity: ArrayLike, shock: ArrayLike, price_impact: float | ArrayLike
) -> FireSales:
    """Shock prices, let banks sell in proportion to their portfolios, and price the sales in.

    Bank n holds assets A_n with weights m_nk and has leverage B_n = debt / equity. A fall of prices by f
    costs it the share R = M f of its assets. To return to its leverage it sells B_n times its loss,
    A_n B_n R_n, spread over assets by weight and at most what it has left. Sales of money S_k depress
    the price of asset k by the share l_k S_k, at the cost of all who hold it.

    Args:
        holdings: (N, K), what each bank holds of each asset.
        equity: (N,), above 0; the rest of its holdings is debt.
        shock: (K,), by which share each price falls, from 0 to 1.
        price_impact: Share of the price per unit of money sold, at least 0: one for all assets, or (K,).

    Raises:
        BadInputError: A number is negative, NaN or infinite; a bank holds nothing, or less than its equity;
            or the sales would take more than the whole price of an asset.
        MismatchError: Lengths differ.

    Source: Greenwood, Landier & Thesmar 2015, section 2.
    """
    held_NK = np.array(holdings, dtype=np.float64)
    if held_NK.ndim != 2:
        remedy = "Give a matrix, a row per bank and a column per asset."
        raise MismatchError(field="holdings", value=held_NK.shape, remedy=remedy)
    wrong = np.argwhere(~(np.isfinite(held_NK) & (held_NK >= 0)))
    if wrong.size:
        bank, asset = (int(index) for index in wrong[0])
        remedy = "Give a finite amount of at least 0."
        raise BadInputError(field=f"holdings[{bank}, {asset}]", value=held_NK[bank, asset], remedy=remedy)
    num_banks, num_assets = held_NK.shape
    equity_N = checked_vector(equity, num_banks, "equity")
    shock_K = checked_vector(shock, num_assets, "shock", highest=1.0)
    impact_K = np.full(num_assets, price_impact) if np.isscalar(price_impact) else price_impact
    impact_K = checked_vector(impact_K, num_assets, "price_impact")
    total_N = held_NK.sum(axis=1)
    odd = np.flatnonzero((equity_N <= 0) | (equity_N > total_N * (1 + 1e-12)))
    if odd.size:
        bank = int(odd[0])
        remedy = f"Give more than 0 and at most the bank's holdings, {total_N[bank]:g}."
        raise BadInputError(field=f"equity[{bank}]", value=float(equity_N[bank]), remedy=remedy)
    weight_NK = held_NK / total_N[:, None]
    direct_N = held_NK @ shock_K
    leverage_N = (total_N - equity_N) / equity_N
    sold_N = np.minimum(leverage_N * direct_N, total_N - direct_N)
    # Column n holds what bank n's sales do to prices.
    fall_KN = impact_K[:, None] * weight_NK.T * sold_N
    fall_K = fall_KN.sum(axis=1)
    if (fall_K > 1).any():
        asset = int(np.argmax(fall_K))
        remedy = "The linear impact would take more than the whole price; give a smaller one."
        raise BadInputError(field=f"price_impact[{asset}]", value=float(impact_K[asset]), remedy=remedy)
    return FireSales(
        direct_loss_N=direct_N,
        sold_N=sold_N,
        sold_K=weight_NK.T @ sold_N,
        price_fall_K=fall_K,
        indirect_loss_N=held_NK @ fall_K,
        direct_vulnerability_N=direct_N / equity_N,
        indirect_vulnerability_N=held_NK @ fall_K / equity_N,
        systemicness_N=held_NK.sum(axis=0) @ fall_KN / equity_N.sum(),
        insolvent_N=direct_N >= equity_N,
    )
