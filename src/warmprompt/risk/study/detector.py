"""When a bank has been silent for too long: a sequential likelihood ratio, exact between payments.

The watcher sees when each bank submits payments (what settled at once, and what joined the queue). Two
readings of what came since a bank's j-th payment, m payments in S days' worth of exposure:

    all is well    rate lambda           trouble    rate rho * lambda

with today's lambda ~ Gamma(alpha_j, beta_j), the profile moved by what the bank sent today up to j:
alpha_j = alpha + n, beta_j = beta + s. Integrating lambda out, the log likelihood ratio is

    W_j,m(S) = m ln(rho) + (alpha_j + m) ln((beta_j + S) / (beta_j + rho S))                      (1)

and the alarm comes when the largest of them over j, with m at most MAX_BETWEEN, reaches the threshold h:
the generalised CUSUM of Page 1954 with a Gamma mixture. W grows with S between payments, so the moment
of the alarm is known beforehand in closed form,

    S* = beta_j (e^c - 1) / (1 - rho e^c),   c = (h + m ln(1 / rho)) / (alpha_j + m)               (2)

and never comes while rho e^c >= 1: doubt about the rate is too large for m payments to be too few. No
grid of times is needed, and a day of all banks takes a few array operations.

h is set on days on which nothing happened, for a stated number of wrong alarms per day among all banks.
Sources: Page 1954; (1) is the ratio of two negative binomial likelihoods; (2) by hand.

E is payments of all banks, each bank's preceded by the opening; M is MAX_BETWEEN + 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement.payments import Doubles, Longs
from warmprompt.risk.study.rates import Profiles

MAX_BETWEEN = 12
TROUBLED_SHARE = 0.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Submissions by bank: positions on one axis (exposure or seconds), banks one after another.

    Attributes:
        bank_E: Whose payment, ascending.
        at_E: Where on the axis; the first of each bank is the opening at 0.
        end: Where watching ends.
        num_banks: N; every bank has its opening.
    """

    bank_E: Longs
    at_E: Doubles
    end: float
    num_banks: int


def make_stream(sender: Longs, at: Doubles, *, num_banks: int, end: float) -> Stream:
    """Sort submissions by bank and position, and put the opening before each bank's."""
    banks = np.concatenate([np.arange(num_banks), sender])
    indices = np.concatenate([np.zeros(num_banks), at])
    order = np.lexsort((indices, banks))
    return Stream(bank_E=banks[order], at_E=indices[order], end=end, num_banks=num_banks)


def largest_ratios(stream: Stream, profiles: Profiles) -> Doubles:
    """Return the largest W of each bank over the whole stream, (N,)."""
    largest_N = np.full(stream.num_banks, -np.inf)
    alpha_E, beta_E = evidence(stream, profiles)
    for m, opens, closes in _windows(stream):
        alpha, beta, span = alpha_E[opens], beta_E[opens], closes - stream.at_E[opens]
        np.maximum.at(largest_N, stream.bank_E[opens], log_ratio(alpha, beta, span, m))
    return largest_N


def first_alarms(stream: Stream, profiles: Profiles, *, threshold: float, not_before: float = 0.0) -> Doubles:
    """Return where each bank's W is first at the threshold, at or after `not_before`; NaN if never, (N,)."""
    first_N = np.full(stream.num_banks, np.inf)
    alpha_E, beta_E = evidence(stream, profiles)
    for m, opens, closes in _windows(stream):
        alpha, beta, start = alpha_E[opens], beta_E[opens], stream.at_E[opens]
        last = stream.at_E[opens + m]
        found = np.maximum(np.maximum(start + crossing(alpha, beta, m, threshold), last), not_before)
        found[found > closes] = np.inf
        np.minimum.at(first_N, stream.bank_E[opens], found)
    return np.where(np.isfinite(first_N), first_N, np.nan)


def longest_silences(stream: Stream) -> Doubles:
    """Return each bank's longest time between two payments, or from the last to the end, (N,)."""
    longest_N = np.zeros(stream.num_banks)
    _, opens, closes = next(_windows(stream))
    np.maximum.at(longest_N, stream.bank_E[opens], closes - stream.at_E[opens])
    return longest_N


def first_silences(stream: Stream, limit_N: Doubles, *, not_before: float = 0.0) -> Doubles:
    """Return where each bank has first been silent for its limit, at or after `not_before`; NaN if never."""
    first_N = np.full(stream.num_banks, np.inf)
    _, opens, closes = next(_windows(stream))
    found = np.maximum(stream.at_E[opens] + limit_N[stream.bank_E[opens]], not_before)
    found[found > closes] = np.inf
    np.minimum.at(first_N, stream.bank_E[opens], found)
    return np.where(np.isfinite(first_N), first_N, np.nan)


def threshold_for(largest: Doubles, *, num_days: float, alarms_per_day: float) -> float:
    """Return the lowest threshold that so many alarms a day, or fewer, reached on days without trouble.

    Args:
        largest: Largest statistic of each bank in each stretch of days.
        num_days: Days watched in all.
        alarms_per_day: Banks wrongly alarmed per day, all banks together.

    Raises:
        BadInputError: Too few days to see even one such alarm.
    """
    allowed = int(alarms_per_day * num_days)
    if allowed < 1:
        remedy = f"Watch at least {1 / max(alarms_per_day, 1e-12):.0f} days, or allow more alarms."
        raise BadInputError(field="days without trouble", value=num_days, remedy=remedy)
    ordered = np.sort(largest)[::-1]
    if allowed >= len(ordered):
        return float(ordered[-1])
    return float(np.nextafter(ordered[allowed], np.inf))


def log_ratio(alpha: Doubles, beta: Doubles, span: Doubles, m: int) -> Doubles:
    """Return W of (1)."""
    gained = np.log1p(span * (1 - TROUBLED_SHARE) / (beta + TROUBLED_SHARE * span))
    return np.asarray(m * np.log(TROUBLED_SHARE) + (alpha + m) * gained)


def crossing(alpha: Doubles, beta: Doubles, m: int, threshold: float) -> Doubles:
    """Return S* of (2), infinite where it never comes."""
    c = (threshold - m * np.log(TROUBLED_SHARE)) / (alpha + m)
    possible = c < -np.log(TROUBLED_SHARE)
    c = np.where(possible, c, 0.0)
    return np.where(possible, beta * np.expm1(c) / (1 - TROUBLED_SHARE * np.exp(c)), np.inf)


def evidence(stream: Stream, profiles: Profiles) -> tuple[Doubles, Doubles]:
    """Return alpha_j and beta_j: the profile moved by what the bank sent today up to its j-th payment."""
    day_E = np.floor(stream.at_E).astype(np.int64)
    key_E = stream.bank_E * (int(np.ceil(stream.end)) + 2) + day_E
    first_E = np.searchsorted(key_E, key_E)
    # The opening of the first day is no payment; on later days the first payment is.
    counted_E = np.arange(len(key_E)) - first_E + (stream.at_E[first_E] > 0)
    alpha_E = profiles.shape_N[stream.bank_E] + counted_E
    return alpha_E, profiles.days_N[stream.bank_E] + stream.at_E - day_E


def _windows(stream: Stream) -> Iterator[tuple[int, Longs, Doubles]]:
    """Yield m, the indices j of (1), and where the window's next payment, or the end, closes it."""
    size = len(stream.at_E)
    following = np.append(stream.at_E, stream.end)
    same = np.append(stream.bank_E, -1)
    for m in range(MAX_BETWEEN + 1):
        opens = np.arange(size - m)
        opens = opens[stream.bank_E[opens + m] == stream.bank_E[opens]]
        after = opens + m + 1
        closes = np.where(same[after] == stream.bank_E[opens], following[after], stream.end)
        yield m, opens, closes
