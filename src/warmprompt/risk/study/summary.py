"""What a study found: means with intervals, paired differences, and what wrong alarms cost.

Intervals are percentile bootstrap over scenarios, the same resamples for every quantity, so that
differences stay paired. S is scenarios.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from warmprompt.evaluation.significance import bootstrap_intervals
from warmprompt.risk.settlement.payments import Doubles
from warmprompt.risk.study.plan import NEVER, POLICIES, Run, Study
from warmprompt.risk.study.watchers import WATCHERS
from warmprompt.rng import derive

NUM_RESAMPLES = 2_000
# (earlier, later): what being later costs.
POLICY_PAIRS = (
    ("275 ms", "1 s"),
    ("1 s", "1 min"),
    ("1 s", "1 s, delays too"),
    ("1 s", "1 s, one day of history"),
    ("1 s", "1 s, no history"),
    ("1 s", "1 s, own mean only"),
    ("1 s", "streaming rule"),
    ("1 s", "hourly"),
    ("1 s", "end of day"),
    ("1 s", "next day"),
)
DELAY_PAIRS = (
    ("0 s", "0.275 s"),
    ("0.275 s", "1 s"),
    ("1 s", "60 s"),
    ("60 s", "900 s"),
    ("900 s", "3600 s"),
    ("3600 s", "28800 s"),
)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over scenarios with its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def covers_zero(self) -> bool:
        """Whether 0 lies in the interval."""
        return self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class Line:
    """One way to act, over all scenarios; losses in per cent of the value due.

    Attributes:
        part: Part of the study.
        name: Name within it.
        measure: What the alarm led to.
        spillover: Loss of the other banks.
        total: Loss of all.
        saved: Spill-over without action less with it, paired.
        beyond_oracle: Spill-over less that of the oracle, paired.
        acted: Share of scenarios in which somebody acted before it was over.
        median_acted_s: Median time from onset to action, infinite if most never acted.
    """

    part: str
    name: str
    measure: str
    spillover: Estimate
    total: Estimate
    saved: Estimate
    beyond_oracle: Estimate
    acted: float
    median_acted_s: float


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What being later costs, in spill-over, paired.

    Attributes:
        part: "delay" or "policy".
        earlier: Who acts earlier (or knows more).
        later: Who acts later.
        cost: Spill-over of the later less that of the earlier.
        identical: Share of scenarios in which both lose the same to the last bit.
    """

    part: str
    earlier: str
    later: str
    cost: Estimate
    identical: float


@dataclass(frozen=True, kw_only=True)
class WatcherLine:
    """How one watcher detects, seconds; medians over the scenarios that it detected.

    Attributes:
        watcher: Who.
        detected: Share of scenarios detected before the incident was over.
        signal_s: From onset to the first missing payment.
        accumulation_s: From there to the threshold.
        wrong_per_day: Banks wrongly alarmed per day on the scenarios' days without incident.
    """

    watcher: str
    detected: float
    signal_s: float
    accumulation_s: float
    wrong_per_day: Estimate


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """All that is reported.

    Attributes:
        num_scenarios: S.
        lines: Every way to act.
        contrasts: Paired differences.
        watchers: How alarms come about.
        wrong_spillover: Spill-over of one wrong alarm.
        wrong_total: Loss of all by one wrong alarm.
        clean_total: Loss on the same days without incident or alarm.
        days_per_incident: With the policy "1 s": wrong alarms cost as much as it saves if an incident comes
            once in so many days; infinite if wrong alarms cost nothing, 0 if it saves nothing.
    """

    num_scenarios: int
    lines: tuple[Line, ...]
    contrasts: tuple[Contrast, ...]
    watchers: tuple[WatcherLine, ...]
    wrong_spillover: Estimate
    wrong_total: Estimate
    clean_total: Estimate
    days_per_incident: float

    def line(self, part: str, name: str) -> Line:
        """Return the line of that part and name."""
        return next(line for line in self.lines if (line.part, line.name) == (part, name))


def summarise_study(study: Study) -> StudySummary:
    """Return the summary; the same for the same study."""
    by_key: dict[tuple[str, str, str], list[Run]] = {}
    for run in study.runs:
        by_key.setdefault((run.part, run.name, run.measure), []).append(run)
    usual = study.settings.response.measure
    none_S = _spillover(by_key["bound", "no action", usual])
    oracle_S = _spillover(by_key["bound", "oracle", usual])
    lines = [
        _line(key, runs, (none_S, oracle_S), study.seed)
        for key, runs in by_key.items()
        if key[0] != "wrong alarm"
    ]
    wrong = by_key["wrong alarm", "1", usual]
    days = study.settings.num_days
    watchers = tuple(_watcher_line(name, study, days) for name in WATCHERS)
    saved = (none_S - _spillover(by_key["policy", "1 s", usual])).mean()
    alarms_cost = study.settings.alarms_per_day * max(_spillover(wrong).mean(), 0.0)
    return StudySummary(
        num_scenarios=study.settings.num_scenarios,
        lines=tuple(lines),
        contrasts=tuple(_contrasts(by_key, usual, study.seed)),
        watchers=watchers,
        wrong_spillover=estimate(_spillover(wrong), study.seed),
        wrong_total=estimate(np.array([run.loss.total for run in wrong]), study.seed),
        clean_total=estimate(np.array([loss.total for loss in study.clean]), study.seed),
        days_per_incident=0.0 if saved <= 0 else saved / alarms_cost if alarms_cost else NEVER,
    )


def estimate(values_S: Doubles, seed: int) -> Estimate:
    """Return the mean and its interval; equal seeds and lengths draw the same resamples."""
    rng = derive(seed, "study", "bootstrap")
    low, high = bootstrap_intervals(values_S[:, None], rng, num_resamples=NUM_RESAMPLES)
    return Estimate(mean=float(values_S.mean()), low=float(low[0]), high=float(high[0]))


def _line(key: tuple[str, str, str], runs: list[Run], bounds: tuple[Doubles, Doubles], seed: int) -> Line:
    part, name, measure = key
    none_S, oracle_S = bounds
    spillover_S = _spillover(runs)
    acted_S = np.array([run.acted_s for run in runs])
    return Line(
        part=part,
        name=name,
        measure=measure,
        spillover=estimate(spillover_S, seed),
        total=estimate(np.array([run.loss.total for run in runs]), seed),
        saved=estimate(none_S - spillover_S, seed),
        beyond_oracle=estimate(spillover_S - oracle_S, seed),
        acted=float(np.isfinite(acted_S).mean()),
        median_acted_s=_median(acted_S),
    )


def _contrasts(by_key: dict[tuple[str, str, str], list[Run]], measure: str, seed: int) -> list[Contrast]:
    known = {policy.name for policy in POLICIES}
    pairs = [("delay", *pair) for pair in DELAY_PAIRS]
    pairs += [("policy", *pair) for pair in POLICY_PAIRS if set(pair) <= known]
    found = []
    for part, earlier, later in pairs:
        difference_S = _spillover(by_key[part, later, measure]) - _spillover(by_key[part, earlier, measure])
        found.append(
            Contrast(
                part=part,
                earlier=earlier,
                later=later,
                cost=estimate(difference_S, seed),
                identical=float((difference_S == 0).mean()),
            )
        )
    return found


def _watcher_line(name: str, study: Study, num_days: int) -> WatcherLine:
    rows = [row for row in study.seen if row.watcher == name]
    accumulation = np.array([row.accumulation_s for row in rows])
    caught = np.isfinite(accumulation)
    signal = np.array([row.signal_s for row in rows])
    return WatcherLine(
        watcher=name,
        detected=float(caught.mean()),
        signal_s=_median(signal[caught]),
        accumulation_s=_median(accumulation[caught]),
        wrong_per_day=estimate(np.array([row.wrong / num_days for row in rows]), study.seed),
    )


def _spillover(runs: list[Run]) -> Doubles:
    return np.array([run.loss.spillover for run in runs])


def _median(values: Doubles) -> float:
    """Return the median without averaging a number with infinity; infinite without values."""
    return float(np.quantile(values, 0.5, method="lower")) if len(values) else NEVER
