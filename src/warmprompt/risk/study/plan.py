"""What a study runs and what it keeps: settings, policies, one record per run and per detection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.study.incident import IncidentSettings
from warmprompt.risk.study.loss import FailureSettings, Loss
from warmprompt.risk.study.response import ResponseSettings
from warmprompt.risk.study.watchers import DELAYS, FEW_SHOT, ONE_DAY, OWN_MEAN, RULE, START_ONLY
from warmprompt.risk.study.world import BankWorldSettings

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
    Policy(name="1 s, delays too", watcher=DELAYS),
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

    world: BankWorldSettings = field(default_factory=BankWorldSettings)
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
