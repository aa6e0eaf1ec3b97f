"""What became of a settlement day, per payment, per bank and over time.

N is banks, P payments, T samples, F fields of a sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.risk.settlement.payments import DayPayments, Doubles, Longs, Rules
from warmprompt.risk.settlement.state import (
    BALANCE,
    HELD,
    NUM_HELD,
    NUM_QUEUED,
    NUM_RECEIVED,
    NUM_SENT,
    NUM_SUBMITTED,
    QUEUED,
    RECEIVED,
    SENT,
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Series:
    """Each bank over time, on the grid of `Rules.sample_s`, the close always included.

    Row t of a flow covers what happened after `grid_s[t - 1]` and up to `grid_s[t]`; row t of a state
    shows it after everything at `grid_s[t]`. All but `held` can be seen by whoever runs the system.

    Attributes:
        grid_s: Ends of the intervals, seconds (T,).
        values_TNF: All fields but the delay, (T, N, F); the properties give one each, (T, N).
        delay_s_TN: Summed delay of what each bank sent in the interval, seconds (T, N).
    """

    grid_s: Doubles
    values_TNF: Longs
    delay_s_TN: Doubles

    @property
    def sent_minor_TN(self) -> Longs:
        """Outflow: value of payments settled for each sender."""
        return self.values_TNF[:, :, SENT]

    @property
    def received_minor_TN(self) -> Longs:
        """Inflow: value of payments settled for each receiver."""
        return self.values_TNF[:, :, RECEIVED]

    @property
    def num_sent_TN(self) -> Longs:
        """Number of payments settled for each sender."""
        return self.values_TNF[:, :, NUM_SENT]

    @property
    def num_received_TN(self) -> Longs:
        """Number of payments settled for each receiver."""
        return self.values_TNF[:, :, NUM_RECEIVED]

    @property
    def num_submitted_TN(self) -> Longs:
        """Number of payments that entered each sender's queue, also those settled at once."""
        return self.values_TNF[:, :, NUM_SUBMITTED]

    @property
    def num_queued_TN(self) -> Longs:
        """Length of each bank's queue at the end of the interval."""
        return self.values_TNF[:, :, NUM_QUEUED]

    @property
    def queued_minor_TN(self) -> Longs:
        """Value of each bank's queue at the end of the interval."""
        return self.values_TNF[:, :, QUEUED]

    @property
    def num_held_TN(self) -> Longs:
        """Payments due but held at a bank that is down; the system does not see them."""
        return self.values_TNF[:, :, NUM_HELD]

    @property
    def held_minor_TN(self) -> Longs:
        """Value of payments due but held at a bank that is down."""
        return self.values_TNF[:, :, HELD]

    @property
    def balance_minor_TN(self) -> Longs:
        """Balance at the end of the interval."""
        return self.values_TNF[:, :, BALANCE]


@dataclass(frozen=True, kw_only=True, eq=False)
class DayResult:
    """A finished day.

    Attributes:
        payments: What was to be settled.
        rules: How.
        settle_s: When each payment settled, NaN if never (P,).
        batch: Number of the event that settled it, ascending over the day; payments of one offsetting
            share it; -1 if never (P,).
        how: 0 never, 1 by itself, 2 in a bilateral, 3 in a multilateral offsetting (P,).
        closing_minor: Balances at the close (N,).
        used_minor: Liquidity used: the furthest a balance fell below what the bank was given so far,
            opening balance and injections (N,).
        overdraft_minor: The furthest a balance fell below 0 (N,).
        injected_minor: Money injected (N,).
        series: Each bank over time; no rows where `Rules.sample_s` is None.
        num_checks: How often all balances were added up (with `check`).
    """

    payments: DayPayments
    rules: Rules
    settle_s: Doubles
    batch: Longs
    how: NDArray[np.int8]
    closing_minor: Longs
    used_minor: Longs
    overdraft_minor: Longs
    injected_minor: Longs
    series: Series
    num_checks: int

    @property
    def delay_s(self) -> Doubles:
        """Seconds from due to settled, NaN where never (P,)."""
        return self.settle_s - self.payments.time_s

    @property
    def is_settled(self) -> NDArray[np.bool_]:
        """Whether each payment settled (P,)."""
        return ~np.isnan(self.settle_s)

    @property
    def unsettled_minor(self) -> int:
        """Value of all payments that never settled."""
        return int(self.payments.amount_minor[~self.is_settled].sum())

    @property
    def settled_minor(self) -> int:
        """Value of all payments that settled."""
        return int(self.payments.amount_minor[self.is_settled].sum())

    @property
    def delay_indicator(self) -> float:
        """Value-weighted delay between 0 (none) and 1 (all wait to the close); 0 on a day without payments.

        sum_p a_p (s_p - t_p) / sum_p a_p (T - t_p), where s_p = T, the close, for what never settled.

        Source: Leinonen & Soramaki 1999, the settlement delay indicator.
        """
        table = self.payments
        ends = np.where(self.is_settled, self.settle_s, self.rules.close_s)
        most = float((table.amount_minor * (self.rules.close_s - table.time_s)).sum())
        return float((table.amount_minor * (ends - table.time_s)).sum()) / most if most > 0 else 0.0

    def order(self) -> Longs:
        """Return the rows of settled payments in the order they settled: what somebody watching sees."""
        rows = np.flatnonzero(self.is_settled)
        return rows[np.argsort(self.batch[rows], kind="stable")]
