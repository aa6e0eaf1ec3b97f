"""Who watches: profiles with more or less evidence, and a rule. Each with one threshold per study.

few-shot     learned start, moved by all of the bank's own past days
one day      learned start, moved by its last day
start only   learned start alone: what is known of a bank without history
own mean     the bank's own past days alone, its mean taken for certain
rule         silent for too long; one limit for each size class, the same at any hour
delays too   few-shot, and also whether too many of the bank's payments wait (`delays`); whichever alarms
             first, each set to half of the wrong alarms

All are set to the same number of wrong alarms a day, on days of other worlds without trouble. N is banks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import DayPayments, Rules, banks_table, simulate_day
from warmprompt.risk.settlement.payments import Doubles
from warmprompt.risk.study.delays import (
    first_late_alarms,
    largest_sums,
    late_counts,
    late_shares,
    late_stream,
    learn_late,
)
from warmprompt.risk.study.detector import (
    Stream,
    first_alarms,
    first_silences,
    largest_ratios,
    longest_silences,
    make_stream,
    threshold_for,
)
from warmprompt.risk.study.rates import (
    Clock,
    Profiles,
    RatePrior,
    learn_prior,
    plain_means,
    profile_banks,
)
from warmprompt.risk.study.world import (
    SIZE_CLASSES,
    BankWorld,
    BankWorldSettings,
    draw_days,
    make_bank_world,
    open_seconds,
    wall_seconds,
)
from warmprompt.rng import derive_seed

FEW_SHOT, ONE_DAY, START_ONLY, OWN_MEAN, RULE = "few-shot", "one day", "start only", "own mean", "rule"
DELAYS = "delays too"
WATCHERS = (FEW_SHOT, DELAYS, ONE_DAY, START_ONLY, OWN_MEAN, RULE)


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedWatchers:
    """What the watchers bring to a world that they have never seen.

    Attributes:
        prior: The learned start.
        num_days: Days in a stretch.
        num_clean_days: Days without trouble that the thresholds were set on.
        threshold: Per profile and number of wrong alarms per day.
        limit_s: Per number of wrong alarms a day, the rule's limit of each size class, seconds of opening.
        late_G: Share of late payments of each size class.
        late_threshold: Per number of wrong alarms a day, of the delays.
    """

    prior: RatePrior
    num_days: int
    num_clean_days: int
    threshold: Mapping[tuple[str, float], float]
    limit_s: Mapping[float, Doubles]
    late_G: Doubles
    late_threshold: Mapping[float, float]


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """What watchers learn on.

    Attributes:
        num_worlds: Worlds to learn the start on, and as many to set thresholds on, at least 1.
        num_stretches: Stretches of days without trouble in each of the latter, at least 1.
        num_days: Days in a stretch, at least 1.
        num_history: Days of history per world, at least 2.
        alarms_per_day: Wrong alarms per day, all banks together; a threshold is set for each.
    """

    num_worlds: int
    num_stretches: int
    num_days: int
    num_history: int
    alarms_per_day: tuple[float, ...]

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        for name, least in (("num_worlds", 1), ("num_stretches", 1), ("num_days", 1), ("num_history", 2)):
            if getattr(self, name) < least:
                remedy = f"Give at least {least}."
                raise BadInputError(field=name, value=getattr(self, name), remedy=remedy)
        num_days = self.num_worlds * self.num_stretches * self.num_days
        for rate in self.alarms_per_day:
            if not 1 / num_days <= rate < np.inf:
                remedy = f"Give at least {1 / num_days:g}, one in the {num_days} days without trouble."
                raise BadInputError(field="alarms_per_day", value=rate, remedy=remedy)


def train_watchers(
    world_settings: BankWorldSettings, settings: TrainingSettings, *, seed: int
) -> TrainedWatchers:
    """Learn the start on some worlds and set the thresholds on days of others.

    Raises:
        BadInputError: Too few days for the rarest of the wrong alarms.
    """
    rates, num_days = settings.alarms_per_day, settings.num_days
    learned_on = [
        make_bank_world(
            world_settings, seed=derive_seed(seed, "learn", index), num_history=settings.num_history
        )
        for index in range(settings.num_worlds)
    ]
    prior = learn_prior(learned_on)
    late_G = learn_late(learned_on, [late_counts(world) for world in learned_on])
    largest: dict[str, list[Doubles]] = {name: [] for name in WATCHERS}
    groups = []
    for index in range(settings.num_worlds):
        world = make_bank_world(
            world_settings, seed=derive_seed(seed, "set", index), num_history=settings.num_history
        )
        profiles = make_profiles(prior, world)
        late_N = late_shares(late_G, world, late_counts(world))
        banks = banks_table(opening_minor=world.opening_minor)
        for stretch in range(settings.num_stretches):
            days = draw_days(world, seed=derive_seed(seed, "clean", index, stretch), num_days=num_days)
            stream = exposure_stream(prior.clock, world, days, days.time_s, num_days=num_days)
            for name, each in profiles.items():
                if name != DELAYS:
                    largest[name].append(largest_ratios(stream, each))
            largest[RULE].append(longest_silences(opened_stream(world, days, days.time_s, num_days=num_days)))
            settle_s = simulate_day(days, banks, _rules(world, num_days)).settle_s
            late = late_stream(days, days.time_s, settle_s, end_s=horizon_s(world, num_days))
            largest[DELAYS].append(largest_sums(late, late_N))
            groups.append(world.group_N)
    total = settings.num_worlds * settings.num_stretches * num_days
    return TrainedWatchers(
        prior=prior,
        num_days=num_days,
        num_clean_days=total,
        threshold={
            (name, rate): threshold_for(np.concatenate(largest[name]), num_days=total, alarms_per_day=rate)
            for name in WATCHERS
            if name not in (RULE, DELAYS)
            for rate in rates
        }
        | {(DELAYS, rate): _half(np.concatenate(largest[FEW_SHOT]), total, rate) for rate in rates},
        limit_s={
            rate: _limits(np.concatenate(largest[RULE]), np.concatenate(groups), total, rate)
            for rate in rates
        },
        late_G=late_G,
        late_threshold={rate: _half(np.concatenate(largest[DELAYS]), total, rate) for rate in rates},
    )


def make_profiles(prior: RatePrior, world: BankWorld) -> dict[str, Profiles]:
    """Return the banks' profiles as each watcher but the rule has them."""
    num_history = len(world.history)
    own = profile_banks(prior, world, num_days=num_history)
    return {
        FEW_SHOT: own,
        DELAYS: own,
        ONE_DAY: profile_banks(prior, world, num_days=1),
        START_ONLY: profile_banks(prior, world, num_days=0),
        OWN_MEAN: plain_means(world, num_days=num_history),
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class Seeing:
    """What a watcher sees of payments.

    Attributes:
        submitted_s: When each was submitted; infinite if never (P,).
        settled_s: When each settled; NaN if never (P,).
    """

    submitted_s: Doubles
    settled_s: Doubles


def set_to_work(trained: TrainedWatchers, world: BankWorld) -> Watching:
    """Return the watchers in a world that they have never seen, its past days known."""
    return Watching(
        trained=trained,
        world=world,
        profiles=make_profiles(trained.prior, world),
        late_N=late_shares(trained.late_G, world, late_counts(world)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Watching:
    """Watchers set to work in one world.

    Attributes:
        trained: As learned elsewhere.
        world: Where they watch.
        profiles: Of its banks, per watcher.
        late_N: Chance that a payment of each bank is late.
    """

    trained: TrainedWatchers
    world: BankWorld
    profiles: Mapping[str, Profiles]
    late_N: Doubles

    def alarms(
        self, name: str, payments: DayPayments, seen: Seeing, *, rate: float, not_before_s: float = 0.0
    ) -> Doubles:
        """Return when each bank is first alarmed at or after a time, seconds; NaN if never (N,)."""
        found_N = self._silent(name, payments, seen.submitted_s, rate=rate, not_before_s=not_before_s)
        if name != DELAYS:
            return found_N
        end_s = horizon_s(self.world, self.trained.num_days)
        late_N = first_late_alarms(
            late_stream(payments, seen.submitted_s, seen.settled_s, end_s=end_s),
            self.late_N,
            threshold=self.trained.late_threshold[rate],
            not_before_s=not_before_s,
        )
        return np.fmin(found_N, late_N)

    def _silent(
        self, name: str, payments: DayPayments, seen_s: Doubles, *, rate: float, not_before_s: float
    ) -> Doubles:
        trained, settings = self.trained, self.world.settings
        start_s = open_seconds(np.array([not_before_s]), settings)
        clock = trained.prior.clock
        if name == RULE:
            stream = opened_stream(self.world, payments, seen_s, num_days=trained.num_days)
            limits = trained.limit_s[rate][self.world.group_N]
            return wall_seconds(first_silences(stream, limits, not_before=float(start_s[0])), settings)
        stream = exposure_stream(clock, self.world, payments, seen_s, num_days=trained.num_days)
        found = first_alarms(
            stream,
            self.profiles[name],
            threshold=trained.threshold[name, rate],
            not_before=float(clock.exposure(start_s)[0]),
        )
        return wall_seconds(clock.opened_s(found), settings)


def exposure_stream(
    clock: Clock, world: BankWorld, payments: DayPayments, seen_s: Doubles, *, num_days: int
) -> Stream:
    """Return what the profiles watch: submissions on the axis of days' worth of payments."""
    seen = np.isfinite(seen_s)
    at = clock.exposure(open_seconds(seen_s[seen], world.settings))
    return make_stream(payments.sender[seen], at, num_banks=world.num_banks, end=float(num_days))


def opened_stream(world: BankWorld, payments: DayPayments, seen_s: Doubles, *, num_days: int) -> Stream:
    """Return what the rule watches: submissions on the axis of seconds of opening."""
    seen = np.isfinite(seen_s)
    at = open_seconds(seen_s[seen], world.settings)
    end = num_days * world.settings.day_s
    return make_stream(payments.sender[seen], at, num_banks=world.num_banks, end=end)


def horizon_s(world: BankWorld, num_days: int) -> float:
    """Return the last close of so many days."""
    return (num_days - 1) * world.settings.period_s + world.settings.day_s


def _rules(world: BankWorld, num_days: int) -> Rules:
    return Rules(close_s=horizon_s(world, num_days), bypass=True, sample_s=None)


def _half(largest: Doubles, num_days: int, rate: float) -> float:
    """Return the threshold for half the wrong alarms; the largest seen where that is less than one."""
    if int(rate / 2 * num_days) < 1:
        return float(np.nextafter(largest.max(), np.inf))
    return threshold_for(largest, num_days=num_days, alarms_per_day=rate / 2)


def _limits(longest: Doubles, group: np.ndarray, num_days: int, rate: float) -> Doubles:
    """Return one limit per size class, the allowed wrong alarms shared equally among the classes.

    A class that is never silent for so long that the limit would be reached often enough gets the
    longest silence seen; one in which too few days were seen for its share is treated the same.
    """
    limits = np.full(len(SIZE_CLASSES), np.inf)
    for index in range(len(SIZE_CLASSES)):
        seen = np.sort(longest[group == index])[::-1]
        if len(seen):
            allowed = int(rate / len(SIZE_CLASSES) * num_days)
            limits[index] = np.nextafter(seen[min(allowed, len(seen) - 1)], np.inf)
    return limits
