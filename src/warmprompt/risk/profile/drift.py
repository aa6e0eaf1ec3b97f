"""A drift alarm over a stream of payments: river's ADWIN on how surprising labels are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from river.drift import ADWIN

from warmprompt.errors import BadInputError

# ADWIN looks for a change at every 32nd value; with fewer it reports nothing.
LEAST_VALUES = 32


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What the watch knows after a value.

    Attributes:
        alarm: Whether this very value made the window shrink.
        mean: Mean of the current window.
        width: Values in the current window.
        num_seen: Values ever.
        num_alarms: Alarms ever.
    """

    alarm: bool
    mean: float
    width: int
    num_seen: int
    num_alarms: int


class DriftWatch:
    """An adaptive window that shrinks where its older and newer parts differ in mean.

    Feed it one bounded number per payment: p_risk as payments come, or the squared error (p - y)^2 as
    labels come due. It holds the state of one stream; make one per stream.

    Args:
        delta: Significance of a cut; the smaller, the fewer false alarms.

    Source: Bifet & Gavalda 2007 (ADWIN), as river implements it.
    """

    def __init__(self, *, delta: float = 0.002) -> None:
        if not 0 < delta < 1:
            raise BadInputError(field="delta", value=delta, remedy="Give a number between 0 and 1.")
        self._window = ADWIN(delta=delta, clock=LEAST_VALUES)  # type: ignore[no-untyped-call]
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
        alarm = bool(self._window.drift_detected)
        self._alarms += alarm
        return DriftReport(
            alarm=alarm,
            mean=float(self._window.estimation),
            width=int(self._window.width),
            num_seen=self._seen,
            num_alarms=self._alarms,
        )
