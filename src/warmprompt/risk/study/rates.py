"""How often a bank should pay: a start learned on other banks, moved by the bank's own few days.

The same idea as the prompts': what is common to many is learned once, and a little evidence of one's
own moves it. Here both are a Gamma distribution, so that moving takes additions only.

Number of payments of bank i on day d: Poisson with rate lambda_i times a day's factor of mean 1 and
variance eta^2; lambda_i ~ Gamma(a_g, b_g) within size class g. After K days with C payments in all

    lambda_i | C ~ Gamma(a_g + C, b_g + K)                                                       (1)

and today's rate has the mean m = (a_g + C) / (b_g + K) and the variance

    m^2 (1 / (a_g + C) + eta^2 (1 + 1 / K))                                                      (2)

of which the Gamma with the same mean and variance is taken (without history 1 / K is left out). (1) is
exact for eta = 0; (2) then adds what a factor of the days does to the mean and to today.

Sources: (1) conjugate pair; estimating the prior from other banks is parametric empirical Bayes
(Morris 1983), in insurance credibility (Buhlmann 1967).
N is banks, K days, G size classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import DayPayments
from warmprompt.risk.settlement.payments import Doubles, Longs
from warmprompt.risk.study.world import BankWorld

NUM_BINS = 88
CERTAIN = 1e8
SMALLEST_RATE = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Clock:
    """What share of a day's payments is due by a moment of the day, learned on past days of all banks.

    Attributes:
        day_s: Length of a day, seconds.
        share_by_B: Cumulative share at the ends of equal bins, from 0 to 1.
    """

    day_s: float
    share_by_B: Doubles

    def exposure(self, opened_s: Doubles) -> Doubles:
        """Return days' worth of payments due by `opened_s` seconds of opening; a whole day is 1."""
        days = np.floor(opened_s / self.day_s)
        part = np.interp(opened_s - days * self.day_s, self._edges, self.share_by_B)
        return np.asarray(days + part)

    def opened_s(self, exposure: Doubles) -> Doubles:
        """Return the inverse of `exposure`; a whole number of days is the close."""
        days = np.maximum(np.ceil(exposure) - 1, 0)
        return np.asarray(days * self.day_s + np.interp(exposure - days, self.share_by_B, self._edges))

    @property
    def _edges(self) -> Doubles:
        return np.linspace(0, self.day_s, len(self.share_by_B))


@dataclass(frozen=True, kw_only=True, eq=False)
class RatePrior:
    """The learned start.

    Attributes:
        shape_G: a of the Gamma per size class.
        days_G: b, in days.
        day_variance: eta^2.
        clock: Course of the day.
    """

    shape_G: Doubles
    days_G: Doubles
    day_variance: float
    clock: Clock


@dataclass(frozen=True, kw_only=True, eq=False)
class Profiles:
    """Gamma distribution of each bank's rate today, payments per day.

    Attributes:
        shape_N: Its shape, above 0.
        days_N: Its rate, in days: mean is `shape_N / days_N`.
    """

    shape_N: Doubles
    days_N: Doubles


def learn_prior(worlds: Sequence[BankWorld]) -> RatePrior:
    """Learn the start from the histories of worlds, by moments within each size class.

    With K days per bank: variance between banks = variance of the means less what chance and the days'
    factors put there, (m + eta^2 m^2) / K; a = mean^2 / variance, b = mean / variance.

    Raises:
        BadInputError: Fewer than two days of history, or no world.
    """
    if not worlds or min(len(world.history) for world in worlds) < 2:
        remedy = "Give worlds with at least two days of history each."
        raise BadInputError(field="worlds", value=f"{len(worlds)} worlds", remedy=remedy)
    counts = [daily_counts(world.history) for world in worlds]
    counts_KN = np.concatenate([each[: min(map(len, counts))] for each in counts], axis=1)
    group_N = np.concatenate([world.group_N for world in worlds])
    num_days = len(counts_KN)
    mean_N, spread_N = counts_KN.mean(axis=0), counts_KN.var(axis=0, ddof=1)
    # E[n̄²] is the mean squared plus the mean's own variance, which `spread_N / K` estimates.
    squared_N = mean_N**2 - spread_N / num_days
    day_variance = max(0.0, float((spread_N - mean_N).sum() / squared_N.sum()))
    num_groups = int(group_N.max()) + 1
    shape_G, days_G = np.ones(num_groups), np.ones(num_groups)
    for group in range(num_groups):
        means = mean_N[group_N == group]
        if not len(means):
            continue
        mean = max(float(means.mean()), SMALLEST_RATE)
        chance = (mean + day_variance * float(squared_N[group_N == group].mean())) / num_days
        between = max(float(means.var(ddof=1)) - chance, 0.01 * mean**2) if len(means) > 1 else mean**2
        shape_G[group], days_G[group] = mean**2 / between, mean / between
    clock = _learn_clock([day for world in worlds for day in world.history], worlds[0].settings.day_s)
    return RatePrior(shape_G=shape_G, days_G=days_G, day_variance=day_variance, clock=clock)


def profile_banks(prior: RatePrior, world: BankWorld, *, num_days: int) -> Profiles:
    """Move the start by the last `num_days` days of a world's history; 0 leaves it where it is.

    Raises:
        BadInputError: More days than there are.
    """
    counts_KN = daily_counts(_last(world, num_days))
    total_N = counts_KN.sum(axis=0) if num_days else np.zeros(world.num_banks)
    shape_N = prior.shape_G[world.group_N] + total_N
    mean_N = np.maximum(shape_N / (prior.days_G[world.group_N] + num_days), SMALLEST_RATE)
    own = 1 / num_days if num_days else 0.0
    today_N = 1 / (1 / shape_N + prior.day_variance * (1 + own))
    return Profiles(shape_N=today_N, days_N=today_N / mean_N)


def plain_means(world: BankWorld, *, num_days: int) -> Profiles:
    """Return each bank's own mean of the last days, taken for certain: no start, no doubt.

    A bank without any payment in them is not watched: its expected rate is next to nothing.

    Raises:
        BadInputError: No day, or more than there are.
    """
    if num_days < 1:
        raise BadInputError(field="days of history", value=num_days, remedy="Give at least 1.")
    mean_N = np.maximum(daily_counts(_last(world, num_days)).mean(axis=0), SMALLEST_RATE)
    return Profiles(shape_N=np.full(world.num_banks, CERTAIN), days_N=CERTAIN / mean_N)


def daily_counts(days: Sequence[DayPayments]) -> Longs:
    """Return how many payments each bank submitted on each day, (K, N); (0, 0) without days."""
    if not days:
        return np.zeros((0, 0), dtype=np.int64)
    return np.stack([np.bincount(day.sender, minlength=day.num_banks) for day in days])


def _last(world: BankWorld, num_days: int) -> tuple[DayPayments, ...]:
    if not 0 <= num_days <= len(world.history):
        remedy = f"Give 0 to {len(world.history)}."
        raise BadInputError(field="days of history", value=num_days, remedy=remedy)
    return world.history[len(world.history) - num_days :]


def _learn_clock(days: Sequence[DayPayments], day_s: float) -> Clock:
    counts = np.zeros(NUM_BINS)
    for day in days:
        counts += np.histogram(day.time_s, bins=NUM_BINS, range=(0, day_s))[0]
    share = np.cumsum(counts + 1) / (counts + 1).sum()
    return Clock(day_s=day_s, share_by_B=np.concatenate([[0.0], share]))
