"""What earlier detection is worth: the same incident, acted on sooner or later.

A scenario is a world that no watcher has seen, days of payments, and an incident. All runs of a scenario
have the same payments and the same incident (common random numbers), so that differences between them
are due to when somebody acts, and to nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import DayResult, Payments, Rules, banks_table, simulate_day
from warmprompt.risk.study.incident import Incident, IncidentSettings, draw_incident, take
from warmprompt.risk.study.loss import FailureSettings, Loss, failure_loss, settlement_loss
from warmprompt.risk.study.response import MEASURES, Alarm, Measure, ResponseSettings, respond
from warmprompt.risk.study.watch import measure_latency
from warmprompt.risk.study.watchers import (
    FEW_SHOT,
    ONE_DAY,
    OWN_MEAN,
    RULE,
    START_ONLY,
    WATCHERS,
    Trained,
    TrainingSettings,
    Watching,
    make_profiles,
    train_watchers,
)
from warmprompt.risk.study.world import World, WorldSettings, draw_days, make_world
from warmprompt.rng import derive_seed

NEVER = float("inf")
HOUR_S = 3_600.0
DELAYS_S = (0.0, 0.275, 1.0, 10.0, 60.0, 300.0, 900.0, 1_800.0, HOUR_S, 2 * HOUR_S, 4 * HOUR_S, 8 * HOUR_S)
OTHER_DELAYS_S = (0.0, HOUR_S)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How an alarm becomes an action.

    Attributes:
        name: Label.
        watcher: One of `WATCHERS`.
        latency_s: To adapt and score, once the deciding moment has come.
        review: When alarms are looked at: at once, on the hour, at the close, or the morning after it.
    """

    name: str
    watcher: str = FEW_SHOT
    latency_s: float = 1.0
    review: str = "at once"


POLICIES = (
    Policy(name="275 ms", latency_s=0.275),
    Policy(name="1 s"),
    Policy(name="1 min", latency_s=60.0),
    Policy(name="1 s, one day of history", watcher=ONE_DAY),
    Policy(name="1 s, no history", watcher=START_ONLY),
    Policy(name="1 s, own mean only", watcher=OWN_MEAN),
    Policy(name="streaming rule", watcher=RULE),
    Policy(name="hourly", review="hour"),
    Policy(name="end of day", review="close"),
    Policy(name="next day", review="morning"),
)


@dataclass(frozen=True, kw_only=True)
class StudySettings:
    """A whole study.

    Attributes:
        world: Banks and payments.
        incident: What goes wrong.
        response: What an alarm leads to.
        failure: What a failure at the end costs ("stress" only).
        num_scenarios: Scenarios, at least 2.
        num_days: Days of a scenario, at least 1.
        num_history: Past days of each bank that the watchers know, at least 2.
        num_training_worlds: Worlds to learn on, and as many to set thresholds on.
        num_clean_stretches: Stretches of days without trouble in each of the latter.
        alarms_per_day: Wrong alarms per day that the policies' thresholds are set to, all banks together.
        other_alarms_per_day: Further such rates, for the trade-off.
        decision_s: From a score to an action.
        morning_s: Seconds after the opening when alarms of the day before are acted on.
        compare_measures: Whether the other measures are run too.
    """

    world: WorldSettings = field(default_factory=WorldSettings)
    incident: IncidentSettings = field(default_factory=IncidentSettings)
    response: ResponseSettings = field(default_factory=ResponseSettings)
    failure: FailureSettings = field(default_factory=FailureSettings)
    num_scenarios: int = 40
    num_days: int = 2
    num_history: int = 5
    num_training_worlds: int = 10
    num_clean_stretches: int = 10
    alarms_per_day: float = 0.05
    other_alarms_per_day: tuple[float, ...] = (0.01, 0.2, 1.0)
    decision_s: float = 0.0
    morning_s: float = 39_600.0
    compare_measures: bool = True

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        for name, least in (("num_scenarios", 2), ("num_days", 1), ("num_history", 2)):
            if getattr(self, name) < least:
                remedy = f"Give at least {least}."
                raise BadInputError(field=name, value=getattr(self, name), remedy=remedy)
        for name in ("decision_s", "morning_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give at least 0.")

    @property
    def horizon_s(self) -> float:
        """The last close."""
        return (self.num_days - 1) * self.world.period_s + self.world.day_s


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of a scenario.

    Attributes:
        scenario: Its number.
        part: "bound", "delay", "policy", "measure", "threshold" or "wrong alarm".
        name: Within the part.
        measure: What the alarm led to.
        acted_s: From onset to action, infinite if nobody acted in time.
        loss: What it cost more than the same days without incident.
    """

    scenario: int
    part: str
    name: str
    measure: str
    acted_s: float
    loss: Loss


@dataclass(frozen=True, kw_only=True)
class Seen:
    """How one watcher came to its alarm in one scenario, seconds; infinite where it did not in time.

    Attributes:
        scenario: Its number.
        watcher: Who.
        signal_s: From onset to the first payment that is missing.
        accumulation_s: From there until the threshold is reached.
        wrong: Banks alarmed wrongly on the same days without incident.
    """

    scenario: int
    watcher: str
    signal_s: float
    accumulation_s: float
    wrong: int


@dataclass(frozen=True, kw_only=True)
class Study:
    """A finished study.

    Attributes:
        settings: As given.
        seed: As given.
        runs: All runs.
        seen: All detections.
        banks: The troubled bank's size class per scenario.
        clean: Loss of each scenario's days without incident.
        thresholds: Per watcher at the policies' rate of wrong alarms; the rule's limits are in seconds.
        latency: Measured time to adapt and score on one payment, ms.
        num_clean_days: Days that the thresholds were set on.
    """

    settings: StudySettings
    seed: int
    runs: tuple[Run, ...]
    seen: tuple[Seen, ...]
    banks: tuple[int, ...]
    clean: tuple[Loss, ...]
    thresholds: Mapping[str, float | tuple[float, ...]]
    latency: Mapping[str, float]
    num_clean_days: int


def run_study(settings: StudySettings, *, seed: int, tell: Callable[[int], None] = lambda _: None) -> Study:
    """Run a study; everything but `latency` is the same for the same seed.

    Args:
        settings: The whole study.
        seed: The only source of chance.
        tell: Called with the number of scenarios that are done.

    Raises:
        BadInputError: A setting without a meaning, or too few clean days for a rate of wrong alarms.
    """
    training = TrainingSettings(
        num_worlds=settings.num_training_worlds,
        num_stretches=settings.num_clean_stretches,
        num_days=settings.num_days,
        num_history=settings.num_history,
        alarms_per_day=(settings.alarms_per_day, *settings.other_alarms_per_day),
    )
    trained = train_watchers(settings.world, training, seed=derive_seed(seed, "training"))
    runs: list[Run] = []
    seen: list[Seen] = []
    banks, clean = [], []
    for number in range(settings.num_scenarios):
        scenario = _Scenario(settings, trained, number, derive_seed(seed, "scenario", number))
        runs += scenario.run_all()
        seen += scenario.seen()
        banks.append(int(scenario.world.group_N[scenario.incident.bank]))
        clean.append(scenario.clean_loss)
        tell(number + 1)
    rate = settings.alarms_per_day
    thresholds: dict[str, float | tuple[float, ...]] = {
        name: trained.threshold[name, rate] for name in WATCHERS if name != RULE
    }
    thresholds[RULE] = tuple(trained.limit_s[rate].tolist())
    return Study(
        settings=settings,
        seed=seed,
        runs=tuple(runs),
        seen=tuple(seen),
        banks=tuple(banks),
        clean=tuple(clean),
        thresholds=thresholds,
        latency=measure_latency(),
        num_clean_days=trained.num_clean_days,
    )


class _Scenario:
    """One world, one incident, and all that is run on them; runs are kept by what was done when."""

    def __init__(self, settings: StudySettings, trained: Trained, number: int, seed: int) -> None:
        self.settings, self.number = settings, number
        self.world: World = make_world(settings.world, seed=seed, num_history=settings.num_history)
        self.days: Payments = draw_days(self.world, seed=seed, num_days=settings.num_days)
        self.incident: Incident = draw_incident(
            self.world, self.days, settings.incident, horizon_s=settings.horizon_s, seed=seed
        )
        self.watching = Watching(
            trained=trained, world=self.world, profiles=make_profiles(trained.prior, self.world)
        )
        self.banks = banks_table(opening_minor=self.world.opening_minor)
        self.rules = Rules(close_s=settings.horizon_s, bypass=True, sample_s=None)
        self.no_withheld = take(self.days, np.zeros(len(self.days), dtype=bool))
        self.clean = simulate_day(self.days, self.banks, self.rules)
        self.clean_loss = settlement_loss(self.clean, self.no_withheld, bank=self.incident.bank)
        self.untouched = simulate_day(self.incident.payments, self.banks, self.rules, self.incident.actions)
        self.kept: dict[tuple[str, float], Loss] = {}

    def run_all(self) -> list[Run]:
        """Return every run of this scenario."""
        settings = self.settings
        usual = settings.response.measure
        runs = [self._run("bound", "oracle", usual, 0.0), self._run("bound", "no action", usual, NEVER)]
        runs += [self._run("delay", _seconds(delay), usual, delay) for delay in DELAYS_S]
        for policy in POLICIES:
            acted_s = self._acted_s(policy, settings.alarms_per_day)
            runs.append(self._run("policy", policy.name, usual, acted_s))
        for rate in (settings.alarms_per_day, *settings.other_alarms_per_day):
            acted_s = self._acted_s(Policy(name="1 s"), rate)
            runs.append(self._run("threshold", f"{rate:g}", usual, acted_s))
        if settings.compare_measures:
            for measure in MEASURES:
                runs += [self._run("measure", _seconds(delay), measure, delay) for delay in OTHER_DELAYS_S]
        wrong = self._wrong_alarm()
        runs.append(
            Run(
                scenario=self.number,
                part="wrong alarm",
                name="1",
                measure=usual,
                acted_s=0.0,
                loss=wrong,
            )
        )
        return runs

    def seen(self) -> list[Seen]:
        """Return how each watcher came to its alarm, and its wrong alarms on the days without incident."""
        settings, incident = self.settings, self.incident
        affected = (self.days.sender == incident.bank) & (self.days.time_s >= incident.onset_s)
        if len(incident.withheld):
            first_s = float(incident.withheld.time_s[0])
        else:
            due_s = self.days.time_s[affected & (self.days.time_s < incident.over_s)]
            first_s = float(due_s[0]) if len(due_s) else NEVER
        rows = []
        for name in WATCHERS:
            alarm_s = self._alarm_s(name, settings.alarms_per_day)
            clean = self.watching.alarms(name, self.days, self.days.time_s, rate=settings.alarms_per_day)
            # A watcher that was suspicious already may be alarmed before a payment is missing.
            signal_s = min(first_s, alarm_s) - incident.onset_s if alarm_s < NEVER else NEVER
            accumulation_s = alarm_s - min(first_s, alarm_s) if alarm_s < NEVER else NEVER
            rows.append(
                Seen(
                    scenario=self.number,
                    watcher=name,
                    signal_s=signal_s,
                    accumulation_s=accumulation_s,
                    wrong=int(np.isfinite(clean).sum()),
                )
            )
        return rows

    def _alarm_s(self, watcher: str, rate: float) -> float:
        incident = self.incident
        alarms = self.watching.alarms(
            watcher, incident.payments, incident.seen_s, rate=rate, not_before_s=incident.onset_s
        )
        alarm_s = float(alarms[incident.bank])
        return alarm_s if alarm_s < incident.over_s else NEVER

    def _acted_s(self, policy: Policy, rate: float) -> float:
        """Return seconds from onset to action."""
        alarm_s = self._alarm_s(policy.watcher, rate)
        if alarm_s == NEVER:
            return NEVER
        looked_at_s = review_time(policy.review, alarm_s, self.settings)
        acted_s = looked_at_s + policy.latency_s + self.settings.decision_s
        return acted_s - self.incident.onset_s

    def _run(self, part: str, name: str, measure: Measure, acted_s: float) -> Run:
        at_s = self.incident.onset_s + acted_s
        if at_s >= min(self.incident.over_s, self.settings.horizon_s):
            acted_s = NEVER
        key = (measure if acted_s < NEVER else "", acted_s)
        if key not in self.kept:
            self.kept[key] = self._excess(self._simulate(measure, at_s, acted_s))
        return Run(
            scenario=self.number,
            part=part,
            name=name,
            measure=measure,
            acted_s=acted_s,
            loss=self.kept[key],
        )

    def _simulate(self, measure: Measure, at_s: float, acted_s: float) -> DayResult:
        if acted_s == NEVER:
            return self.untouched
        incident = self.incident
        alarm = Alarm(bank=incident.bank, onset_s=incident.onset_s, at_s=at_s, until_s=incident.over_s)
        settings = replace(self.settings.response, measure=measure)
        response = respond(settings, alarm, self.untouched, self.world.opening_minor)
        return simulate_day(incident.payments, self.banks, self.rules, [*incident.actions, *response])

    def _excess(self, result: DayResult) -> Loss:
        incident = self.incident
        loss = settlement_loss(result, incident.withheld, bank=incident.bank)
        if self.settings.incident.kind == "stress":
            expected_N = np.asarray(self.world.value_NN.sum(axis=1)).ravel()
            missing, rank, defaults = failure_loss(
                result, incident.withheld, expected_N, self.settings.failure, bank=incident.bank
            )
            due = float(result.payments.amount_minor.sum() + incident.withheld.amount_minor.sum())
            loss = replace(loss, failure=100 * missing / due, debtrank=rank, defaults=float(defaults))
        return loss.less(self.clean_loss)

    def _wrong_alarm(self) -> Loss:
        """Return what the same alarm costs on the same days when nothing is wrong with the bank."""
        settings, onset_s = self.settings.response, self.incident.onset_s
        alarm = Alarm(
            bank=self.incident.bank,
            onset_s=onset_s,
            at_s=onset_s,
            until_s=onset_s + settings.verify_s,
        )
        response = respond(settings, alarm, self.clean, self.world.opening_minor)
        result = simulate_day(self.days, self.banks, self.rules, response)
        return settlement_loss(result, self.no_withheld, bank=alarm.bank).less(self.clean_loss)


def review_time(review: str, alarm_s: float, settings: StudySettings) -> float:
    """Return when an alarm is looked at.

    Raises:
        BadInputError: An unknown review.
    """
    period_s, day_s = settings.world.period_s, settings.world.day_s
    day = float(np.floor(alarm_s / period_s))
    if review == "at once":
        return alarm_s
    if review == "hour":
        return float(np.ceil(alarm_s / HOUR_S) * HOUR_S)
    if review == "close":
        return day * period_s + day_s
    if review == "morning":
        return (day + 1) * period_s + settings.morning_s
    remedy = "Choose one of: at once, hour, close, morning."
    raise BadInputError(field="review", value=review, remedy=remedy)


def _seconds(delay: float) -> str:
    return f"{delay:g} s"
