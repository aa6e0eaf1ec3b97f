"""A drift alarm over a stream of payments: two tests on how surprising payments or their labels are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from river.drift import ADWIN

from warmprompt.errors import BadInputError

# ADWIN looks for a change at every 32nd value; with fewer neither test reports anything.
LEAST_VALUES = 32
# The settings of the sum were selected on made-up streams (benchmarks/drift.py). It starts once the values
# so far weigh as much as so many frauds: the relative error of their mean is then 1 / sqrt(20).
_LEAST_WEIGHT = 20.0
# An alarm needs as much evidence as a doubling brings in 1,500 values, but these nats at least and at most.
_REACH = 1_500
_LEAST_NATS, _MOST_NATS = 5.0, 20.0
# One value alone never is a drift.
_MOST_NATS_OF_ONE = 2.0
_GAIN = 2 * math.log(2) - 1


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What the watch knows after a value.

    Attributes:
        alarm: Whether this very value raised an alarm.
        mean: Mean of ADWIN's current window.
        width: Values in that window.
        num_seen: Values ever.
        num_alarms: Alarms ever.
    """

    alarm: bool
    mean: float
    width: int
    num_seen: int
    num_alarms: int


class DriftWatch:
    """An alarm where a stream's mean changed: ADWIN in either direction, a cumulative sum if it doubled.

    Feed it one bounded number per payment: p_risk as payments come, or the label or the squared error
    (p - y)^2 as labels come due. It holds the state of one stream; make one per stream. ADWIN is safe at
    any rate but blind to a doubling of rare frauds, which the sum is made for; benchmarks/drift.py measures
    both.

    Args:
        delta: Significance of ADWIN's cut; the smaller, the fewer false alarms.

    Source: Bifet & Gavalda 2007 (ADWIN), as river implements it; Page 1954 (cumulative sum).
    """

    def __init__(self, *, delta: float = 0.05) -> None:
        if not 0 < delta < 1:
            raise BadInputError(field="delta", value=delta, remedy="Give a number between 0 and 1.")
        self._window = ADWIN(delta=delta, clock=LEAST_VALUES)  # type: ignore[no-untyped-call]
        self._sum = _DoublingSum()
        self._seen = 0
        self._alarms = 0

    def update(self, value: float) -> DriftReport:
        """Take in one value between 0 and 1.

        Raises:
            BadInputError: Not a number between 0 and 1.
        """
        if not (math.isfinite(value) and 0 <= value <= 1):
            raise BadInputError(field="drift value", value=value, remedy="Give a number from 0 to 1.")
        self._window.update(value)  # type: ignore[no-untyped-call]
        self._seen += 1
        alarm = self._sum.doubled(value) | bool(self._window.drift_detected)
        self._alarms += alarm
        return DriftReport(
            alarm=alarm,
            mean=float(self._window.estimation),
            width=int(self._window.width),
            num_seen=self._seen,
            num_alarms=self._alarms,
        )


class _DoublingSum:
    """Page's cumulative sum of the log-likelihood of a doubled mean against the mean so far.

    Values count as over-dispersed Poisson: with mean m and variance v, x / (v / m) has a variance equal to
    its mean, and a value's log-likelihood ratio is (x log 2 - m) / (v / m). Labels of rare frauds are its
    usual case, v / m = 1. The mean is that of the values before the sum last left zero, so that what may
    be the change does not enter what it is compared with; half its standard error is added to it.
    """

    def __init__(self) -> None:
        self._before = self._since = (0, 0.0, 0.0)
        self._nats = 0.0

    def doubled(self, value: float) -> bool:
        """Take in one value; return whether the sum passed its threshold, after which it begins anew."""
        num, total, squares = self._before
        if num + self._since[0] >= LEAST_VALUES and total > 0:
            mean = total / num
            # A value weighs at most as much as one fraud, however even the stream is.
            dispersion = max(squares / num - mean**2, mean**2) / mean
            weight = total / dispersion
            if weight >= _LEAST_WEIGHT:
                reference = mean * (1 + 0.5 / math.sqrt(weight))
                step = (value * math.log(2) - reference) / dispersion
                self._nats = max(0.0, self._nats + min(step, _MOST_NATS_OF_ONE))
                wanted = _REACH * _GAIN * mean / dispersion
                if self._nats > min(max(wanted, _LEAST_NATS), _MOST_NATS):
                    self._before, self._since, self._nats = (0, 0.0, 0.0), (0, 0.0, 0.0), 0.0
                    return True
        self._since = _joined(self._since, (1, value, value**2))
        if self._nats == 0:
            self._before, self._since = _joined(self._before, self._since), (0, 0.0, 0.0)
        return False


def _joined(first: tuple[int, float, float], second: tuple[int, float, float]) -> tuple[int, float, float]:
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]
