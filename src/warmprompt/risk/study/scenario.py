"""One scenario: a world, days of payments, an incident, and all that is run on them.

All runs have the same payments and the same incident (common random numbers), so that differences
between them are due to when somebody acts, and to nothing else.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from warmprompt.risk.settlement import DayPayments, DayResult, Rules, banks_table, simulate_day
from warmprompt.risk.study.incident import Incident, draw_incident, take_payments
from warmprompt.risk.study.loss import Loss, failure_loss, settlement_loss
from warmprompt.risk.study.plan import (
    DELAYS_S,
    NEVER,
    OTHER_DELAYS_S,
    POLICIES,
    Policy,
    Run,
    Seen,
    StudySettings,
    review_time,
)
from warmprompt.risk.study.response import MEASURES, Alarm, Measure, alarm_actions
from warmprompt.risk.study.watchers import WATCHERS, Seeing, TrainedWatchers, set_to_work
from warmprompt.risk.study.world import BankWorld, draw_days, make_bank_world


class Scenario:
    """One world, one incident, and all that is run on them; runs are kept by what was done when."""

    def __init__(self, settings: StudySettings, trained: TrainedWatchers, number: int, seed: int) -> None:
        self.settings, self.number = settings, number
        self.world: BankWorld = make_bank_world(settings.world, seed=seed, num_history=settings.num_history)
        self.days: DayPayments = draw_days(self.world, seed=seed, num_days=settings.num_days)
        self.incident: Incident = draw_incident(
            self.world, self.days, settings.incident, horizon_s=settings.horizon_s, seed=seed
        )
        self.watching = set_to_work(trained, self.world)
        self.banks = banks_table(opening_minor=self.world.opening_minor)
        self.rules = Rules(close_s=settings.horizon_s, bypass=True, sample_s=None)
        self.no_withheld = take_payments(self.days, np.zeros(len(self.days), dtype=bool))
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
            quiet = Seeing(submitted_s=self.days.time_s, settled_s=self.clean.settle_s)
            clean = self.watching.alarms(name, self.days, quiet, rate=settings.alarms_per_day)
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
        # What the watcher sees is what happens as long as nobody has acted.
        seen = Seeing(submitted_s=incident.seen_s, settled_s=self.untouched.settle_s)
        alarms = self.watching.alarms(
            watcher, incident.payments, seen, rate=rate, not_before_s=incident.onset_s
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
        response = alarm_actions(settings, alarm, self.untouched, self.world.opening_minor)
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
        response = alarm_actions(settings, alarm, self.clean, self.world.opening_minor)
        result = simulate_day(self.days, self.banks, self.rules, response)
        return settlement_loss(result, self.no_withheld, bank=alarm.bank).less(self.clean_loss)


def _seconds(delay: float) -> str:
    return f"{delay:g} s"
