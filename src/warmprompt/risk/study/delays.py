"""When too many of a bank's payments wait: delays as a second signal next to outflow and queue.

A payment is late if it is not settled LATE_S after it was submitted; it is known to be late then, and not to
be when it settles. The chance that a payment of bank i is late starts at the share of its size class, worth
STRENGTH payments, and moves by the bank's own past days:

    q_i = (late_i + STRENGTH q_g) / (num_i + STRENGTH)                                            (1)

In trouble the odds are RISE times as large. With l the log likelihood ratio of one payment,

    l = ln(q' / q) if late, ln((1 - q') / (1 - q)) if not,   S = max(0, S + l)                    (2)

is Page's CUSUM; the alarm comes when S reaches its threshold. LATE_S, STRENGTH and RISE are assumptions, not
fitted. Sources: Page 1954; (1) is a Beta prior's posterior mean.

P is payments, N banks, G size classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from warmprompt.risk.settlement import DayPayments, Rules, banks_table, simulate_day
from warmprompt.risk.settlement.payments import Doubles, Longs
from warmprompt.risk.study.world import BankWorld

LATE_S = 900.0
STRENGTH = 200.0
RISE = 5.0
_LEAST, _MOST = 1e-4, 0.9


@dataclass(frozen=True, kw_only=True, eq=False)
class LateStream:
    """What is learned of lateness, bank by bank in order of time.

    Attributes:
        bank_P: Whose payment, ascending.
        known_s_P: When it is known whether it is late.
        late_P: Whether it is.
        end_s: Where watching ends.
        num_banks: N.
    """

    bank_P: Longs
    known_s_P: Doubles
    late_P: np.ndarray
    end_s: float
    num_banks: int


def late_stream(payments: DayPayments, seen_s: Doubles, settle_s: Doubles, *, end_s: float) -> LateStream:
    """Return when each payment is known to be late or not.

    Args:
        payments: The payments.
        seen_s: When each was submitted; infinite if never (P,).
        settle_s: When each settled; NaN or infinite if never (P,).
        end_s: What is known later is left out.
    """
    delay_s = np.where(np.isfinite(settle_s), settle_s, np.inf) - np.where(np.isfinite(seen_s), seen_s, 0.0)
    late = delay_s > LATE_S
    known_s = np.where(late, seen_s + LATE_S, settle_s)
    selected = np.flatnonzero(np.isfinite(seen_s) & (known_s <= end_s))
    order = selected[np.lexsort((known_s[selected], payments.sender[selected]))]
    return LateStream(
        bank_P=payments.sender[order],
        known_s_P=known_s[order],
        late_P=late[order],
        end_s=end_s,
        num_banks=payments.num_banks,
    )


def late_counts(world: BankWorld) -> tuple[Longs, Longs]:
    """Return how many payments of each bank were late on its past days, and how many it submitted, (N,)."""
    banks = banks_table(opening_minor=world.opening_minor)
    rules = Rules(close_s=world.settings.day_s, bypass=True, sample_s=None)
    late_N, num_N = np.zeros((2, world.num_banks), dtype=np.int64)
    for day in world.history:
        settled = simulate_day(day, banks, rules).settle_s
        stream = late_stream(day, day.time_s, settled, end_s=np.inf)
        late_N += np.bincount(stream.bank_P[stream.late_P], minlength=world.num_banks)
        num_N += np.bincount(stream.bank_P, minlength=world.num_banks)
    return late_N, num_N


def learn_late(worlds: Sequence[BankWorld], counts: Sequence[tuple[Longs, Longs]]) -> Doubles:
    """Return the share of late payments of each size class over worlds, (G,)."""
    groups = np.concatenate([world.group_N for world in worlds])
    late, num = (np.concatenate(each) for each in zip(*counts, strict=True))
    late_G = np.bincount(groups, weights=late)
    return np.asarray(late_G / np.maximum(np.bincount(groups, weights=num), 1))


def late_shares(start_G: Doubles, world: BankWorld, counts: tuple[Longs, Longs]) -> Doubles:
    """Return q of (1) for each bank, (N,), kept away from 0 and 1."""
    late_N, num_N = counts
    share_N = (late_N + STRENGTH * start_G[world.group_N]) / (num_N + STRENGTH)
    return np.asarray(np.clip(share_N, _LEAST, _MOST))


def largest_sums(stream: LateStream, share_N: Doubles) -> Doubles:
    """Return the largest S of (2) of each bank over the stream, (N,)."""
    largest_N = np.zeros(stream.num_banks)
    for bank, _, sums in _sums(stream, share_N):
        largest_N[bank] = sums.max()
    return largest_N


def first_late_alarms(
    stream: LateStream, share_N: Doubles, *, threshold: float, not_before_s: float = 0.0
) -> Doubles:
    """Return when each bank's S is first at the threshold, at or after a time, seconds; NaN if never (N,)."""
    first_N = np.full(stream.num_banks, np.nan)
    for bank, rows, sums in _sums(stream, share_N):
        known_s = stream.known_s_P[rows]
        until_s = np.append(known_s[1:], stream.end_s)
        reached = np.flatnonzero((sums >= threshold) & (until_s > not_before_s))
        if len(reached):
            first_N[bank] = max(known_s[reached[0]], not_before_s)
    return first_N


def _sums(stream: LateStream, share_N: Doubles) -> Iterator[tuple[int, slice, Doubles]]:
    """Yield each bank that submitted, its rows and S after each: a sum less its lowest so far, 0 included."""
    ends = np.searchsorted(stream.bank_P, np.arange(stream.num_banks + 1))
    odds_N = RISE * share_N / (1 - share_N)
    risen_N = odds_N / (1 + odds_N)
    if_late_N, if_not_N = np.log(risen_N / share_N), np.log((1 - risen_N) / (1 - share_N))
    for bank in np.flatnonzero(np.diff(ends)):
        rows = slice(int(ends[bank]), int(ends[bank + 1]))
        total = np.cumsum(np.where(stream.late_P[rows], if_late_N[bank], if_not_N[bank]))
        yield int(bank), rows, total - np.minimum(np.minimum.accumulate(total), 0.0)
