"""A seeded payment day over given links: when, between whom, how much.

L is links, P payments, S equal slices of the day.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement.payments import MAX_TOTAL_MINOR, DayPayments, payments_table
from warmprompt.rng import derive

# Relative traffic per equal slice of the day: quiet at first, a plateau, a late rise. An assumption.
PROFILE = (0.3, 0.3, 0.5, 0.8, 1.2, 1.4, 1.4, 1.5, 1.8, 2.0, 1.2, 0.4)


@dataclass(frozen=True, kw_only=True, eq=False)
class DayShape:
    """When payments are due and how large they are. The defaults are assumptions, not estimates.

    Args:
        open_s: Start of the day, seconds.
        close_s: End of the day.
        median_minor: Median amount, at least 1 minor unit; or one per link, in row-major order (L,).
        sigma: Deviation of the logarithm of an amount, at least 0.
        profile: Relative traffic per equal slice of the day (S,).
    """

    open_s: float = 0.0
    close_s: float = 79_200.0
    median_minor: ArrayLike = 3_000_000
    sigma: float = 2.0
    profile: Sequence[float] = PROFILE

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if not (np.isfinite(self.open_s) and np.isfinite(self.close_s) and self.open_s < self.close_s):
            span = f"{self.open_s} to {self.close_s}"
            raise BadInputError(
                field="open_s, close_s", value=span, remedy="Open before closing, in seconds."
            )
        traffic = np.asarray(self.profile, dtype=np.float64)
        if traffic.ndim != 1 or not (
            np.isfinite(traffic).all() and (traffic >= 0).all() and traffic.sum() > 0
        ):
            remedy = "Give numbers of at least 0, not all 0."
            raise BadInputError(field="profile", value=self.profile, remedy=remedy)
        medians = np.asarray(self.median_minor, dtype=np.float64)
        if not (np.isfinite(medians) & (medians >= 1)).all():
            remedy = "Give medians of at least 1."
            raise BadInputError(field="median_minor", value=self.median_minor, remedy=remedy)
        if not (np.isfinite(self.sigma) and self.sigma >= 0):
            raise BadInputError(field="sigma", value=self.sigma, remedy="Give a number of at least 0.")


def payment_day(links: Any, *, num_payments: int, seed: int, shape: DayShape | None = None) -> DayPayments:
    """Return random payments: links drawn by weight, times by profile, log-normal amounts.

    Amount = round(median * exp(sigma * z)), z standard normal, at least 1 minor unit and at most
    2^62 / (2 P). Times are on whole milliseconds. Priorities: 10 % urgent (0), the others 5.

    Args:
        links: Matrix or sparse matrix, (N, N); entry (i, j) > 0 is the relative number of payments
            from i to j.
        num_payments: P, at least 0.
        seed: The same seed gives the same day.
        shape: When and how much; the defaults of `DayShape` where left out.

    Raises:
        BadInputError: Links that are not square, on the diagonal, negative, not finite or all zero; a
            median per link for another number of links; fewer than 0 payments.
    """
    shape = shape or DayShape()
    sender_L, receiver_L, share_L, num_banks = _links(links)
    if num_payments < 0:
        raise BadInputError(field="num_payments", value=num_payments, remedy="Give at least 0.")
    medians = np.asarray(shape.median_minor, dtype=np.float64)
    if medians.shape not in {(), share_L.shape}:
        value = f"{medians.size} medians for {len(share_L)} links"
        raise BadInputError(field="median_minor", value=value, remedy="Give one number, or one per link.")
    median_L = np.broadcast_to(medians, share_L.shape)
    traffic = np.asarray(shape.profile, dtype=np.float64)

    link_P = derive(seed, "settlement", "links").choice(len(share_L), size=num_payments, p=share_L)
    clock = derive(seed, "settlement", "times")
    slice_P = clock.choice(len(traffic), size=num_payments, p=traffic / traffic.sum())
    part_P = (slice_P + clock.random(num_payments)) / len(traffic)
    time_P = np.sort(np.floor((shape.open_s + part_P * (shape.close_s - shape.open_s)) * 1000) / 1000)
    normal_P = derive(seed, "settlement", "amounts").standard_normal(num_payments)
    amount_P = np.rint(median_L[link_P] * np.exp(shape.sigma * normal_P))
    amount_P = np.clip(amount_P, 1, MAX_TOTAL_MINOR // (2 * max(1, num_payments)))
    urgent_P = derive(seed, "settlement", "priorities").random(num_payments) < 0.1
    return payments_table(
        time_s=np.maximum(time_P, shape.open_s),
        sender=sender_L[link_P],
        receiver=receiver_L[link_P],
        amount_minor=amount_P.astype(np.int64),
        priority=np.where(urgent_P, 0, 5),
        num_banks=num_banks,
    )


def _links(links: Any) -> tuple[Any, Any, Any, int]:
    """Return senders, receivers and shares of payments of the links in row-major order, and N."""
    matrix = coo_array(links)
    matrix.sum_duplicates()
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise BadInputError(field="links", value=f"shape {matrix.shape}", remedy="Give a square matrix.")
    weight = matrix.data.astype(np.float64)
    if not (np.isfinite(weight).all() and (weight >= 0).all() and weight.sum() > 0):
        raise BadInputError(
            field="links", value="weights", remedy="Give finite weights of at least 0, not all 0."
        )
    row, column = matrix.coords
    if (weight[row == column] > 0).any():
        bank = int(row[(row == column) & (weight > 0)][0])
        raise BadInputError(field="links", value=f"bank {bank} to itself", remedy="Leave the diagonal at 0.")
    kept = np.flatnonzero(weight > 0)
    kept = kept[np.lexsort((column[kept], row[kept]))]
    share = weight[kept] / weight[kept].sum()
    return row[kept].astype(np.int64), column[kept].astype(np.int64), share, matrix.shape[0]
