"""What an alarm leads to, right or wrong.

Whoever learns that a bank is in trouble grows careful: for the time that it takes to verify the alarm
every other bank keeps back part of its liquidity. The measure itself lasts until the incident is over,
or, where the alarm was wrong, until that is known. N is banks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import EVERY, Action, DayResult, block, cut_exposure, lift, reserve, set_cap
from warmprompt.risk.settlement.payments import Longs

Measure = Literal["credit", "cut", "stop"]
MEASURES: tuple[Measure, ...] = ("credit", "cut", "stop")


@dataclass(frozen=True, kw_only=True)
class ResponseSettings:
    """How the system reacts. Every value is an assumption.

    Attributes:
        measure: "credit": the central bank lends each other bank, until the incident is over, what it has
            sent the troubled one since the onset net of what came back. "cut": the others send it only
            what it sends them from then on. "stop": they send it nothing.
        refresh_s: With "credit": how often the credit follows what is stuck.
        verify_s: Time until an alarm is known to be right or wrong.
        hoarded_share: Share of its opening balance that every other bank keeps back until then.
    """

    measure: Measure = "credit"
    refresh_s: float = 1_800.0
    verify_s: float = 1_800.0
    hoarded_share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if self.measure not in MEASURES:
            remedy = f"Choose one of: {', '.join(MEASURES)}."
            raise BadInputError(field="measure", value=self.measure, remedy=remedy)
        for name in ("refresh_s", "verify_s"):
            if not 60 <= getattr(self, name) < np.inf:
                raise BadInputError(field=name, value=getattr(self, name), remedy="Give at least 60 seconds.")
        if not 0 <= self.hoarded_share <= 1:
            raise BadInputError(field="hoarded_share", value=self.hoarded_share, remedy="Give 0 to 1.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Alarm:
    """An alarm and what was really the matter.

    Attributes:
        bank: Who is said to be in trouble.
        onset_s: Since when.
        at_s: When the alarm is acted on.
        until_s: When the measure ends: the incident is over, or the alarm known to be wrong.
    """

    bank: int
    onset_s: float
    at_s: float
    until_s: float


def alarm_actions(
    settings: ResponseSettings, alarm: Alarm, before: DayResult, opening_minor: Longs
) -> list[Action]:
    """Return the actions that an alarm leads to.

    Args:
        settings: How the system reacts.
        alarm: The alarm.
        before: The same days if nobody acts, from which credit is taken.
        opening_minor: Opening balances (N,).
    """
    actions: list[Action] = []
    kept_N = np.rint(settings.hoarded_share * opening_minor).astype(np.int64)
    kept_N[alarm.bank] = 0
    actions += [
        reserve(time_s=alarm.at_s, bank=int(bank), amount_minor=int(kept_N[bank]))
        for bank in np.flatnonzero(kept_N)
    ]
    if actions:
        actions.append(reserve(time_s=alarm.at_s + settings.verify_s, bank=EVERY, amount_minor=0))
    if settings.measure == "credit":
        return actions + _credit(settings, alarm, before)
    shun = block if settings.measure == "stop" else cut_exposure
    actions.append(shun(time_s=alarm.at_s, bank=EVERY, other=alarm.bank))
    actions.append(lift(time_s=alarm.until_s, bank=EVERY, other=alarm.bank))
    return actions


def stuck_with(result: DayResult, alarm: Alarm, *, until_s: float) -> Longs:
    """Return what each bank has sent the troubled one since the onset net of what came back, (N,)."""
    payments, bank = result.payments, alarm.bank
    within = (result.settle_s >= alarm.onset_s) & (result.settle_s < until_s)
    towards, back = within & (payments.receiver == bank), within & (payments.sender == bank)
    stuck_N = np.zeros(payments.num_banks, dtype=np.int64)
    np.add.at(stuck_N, payments.sender[towards], payments.amount_minor[towards])
    np.subtract.at(stuck_N, payments.receiver[back], payments.amount_minor[back])
    return np.maximum(stuck_N, 0)


def _credit(settings: ResponseSettings, alarm: Alarm, before: DayResult) -> list[Action]:
    """Return caps that follow what is stuck, and their end; below a cap a bank waits until it is back."""
    actions: list[Action] = []
    given_N = np.zeros(before.payments.num_banks, dtype=np.int64)
    end_s = min(alarm.until_s, before.rules.close_s)
    for time_s in np.arange(alarm.at_s, end_s, settings.refresh_s).tolist():
        stuck_N = stuck_with(before, alarm, until_s=time_s)
        # A cap that falls would take back what was lent before the incident is over.
        raised = np.flatnonzero(stuck_N > given_N)
        actions += [set_cap(time_s=time_s, bank=int(one), amount_minor=int(stuck_N[one])) for one in raised]
        given_N = np.maximum(given_N, stuck_N)
    if given_N.any():
        actions.append(set_cap(time_s=alarm.until_s, bank=EVERY, amount_minor=0))
    return actions
