"""The detector one payment at a time: what a watcher keeps per bank, and what a payment changes.

    watch = open_watch(shape, days)
    watch = observe(watch, at)           adapt: additions only
    alarm_at(watch, threshold)           score: when the alarm comes if nothing more is submitted

It gives the same alarms as `detector.first_alarms`, which works on whole days at once.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement.payments import Doubles
from warmprompt.risk.study.detector import MAX_BETWEEN, TROUBLED_SHARE


@dataclass(frozen=True, kw_only=True)
class BankWatch:
    """What is kept of one bank.

    Attributes:
        shape: Shape of its profile at the opening of a day.
        days: Rate of its profile at the opening of a day, in days.
        num_today: Payments submitted today.
        recent: For the last payments, oldest first: alpha, beta and position on the axis of exposure. The
            opening counts as one.
    """

    shape: float
    days: float
    num_today: int
    recent: tuple[tuple[float, float, float], ...]


def open_watch(shape: float, days: float) -> BankWatch:
    """Return the watch at the opening of the first day, the profile as it is."""
    return BankWatch(shape=shape, days=days, num_today=0, recent=((shape, days, 0.0),))


def observe(watch: BankWatch, at: float) -> BankWatch:
    """Return the watch after a payment submitted at this exposure, in days.

    Raises:
        BadInputError: It lies before the last one.
    """
    last = watch.recent[-1][2]
    if not at >= last:
        raise BadInputError(field="exposure", value=at, remedy=f"Observe in order of time; last was {last}.")
    num_today = watch.num_today + 1 if math.floor(at) == math.floor(last) else 1
    entry = (watch.shape + num_today, watch.days + at - math.floor(at), at)
    return BankWatch(
        shape=watch.shape,
        days=watch.days,
        num_today=num_today,
        recent=(*watch.recent, entry)[-MAX_BETWEEN - 1 :],
    )


def alarm_at(watch: BankWatch, threshold: float) -> float:
    """Return at which exposure the alarm comes if the bank submits nothing more; infinite if never.

    Source: (2) of `detector`.
    """
    last = watch.recent[-1][2]
    earliest = math.inf
    for m, (alpha, beta, start) in enumerate(reversed(watch.recent)):
        c = (threshold - m * math.log(TROUBLED_SHARE)) / (alpha + m)
        if c < -math.log(TROUBLED_SHARE):
            span = beta * math.expm1(c) / (1 - TROUBLED_SHARE * math.exp(c))
            earliest = min(earliest, max(start + span, last))
    return earliest


def measure_latency(*, num_payments: int = 5_000) -> dict[str, float]:
    """Return median and 99th percentile of adapting and scoring on one payment, in ms of this machine."""
    watch, spent = open_watch(120.0, 1.0), np.zeros(num_payments)
    for index, at in enumerate(np.linspace(0.0, 1.0, num_payments, endpoint=False).tolist()):
        begun = time.perf_counter()
        watch = observe(watch, at)
        alarm_at(watch, 8.0)
        spent[index] = time.perf_counter() - begun
    return _percentiles(spent)


def _percentiles(spent_s: Doubles) -> dict[str, float]:
    p50, p99 = np.quantile(spent_s * 1000, [0.5, 0.99])
    return {"p50_ms": float(p50), "p99_ms": float(p99)}
