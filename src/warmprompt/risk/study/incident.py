"""What goes wrong: one bank, from one moment on. P is payments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement import Action, DayPayments, outage
from warmprompt.risk.settlement.payments import Doubles
from warmprompt.risk.study.world import BankWorld
from warmprompt.rng import derive

Kind = Literal["outage", "stress"]
Weighting = Literal["value", "uniform"]


@dataclass(frozen=True, kw_only=True)
class IncidentSettings:
    """How incidents are drawn. Every value is an assumption.

    Attributes:
        kind: "outage": the bank sends nothing and receives on, until it is repaired. "stress": it withholds
            most payments from others, and fails at the end.
        drawn_by: Whom it hits: banks by the value they pay ("value"), or all equally ("uniform").
        earliest: Onset is uniform from this share of the first day ...
        latest: ... to this one.
        median_repair_s: Median of an outage's log-normal length.
        repair_sigma: Deviation of its logarithm.
        withheld_share: With stress: chance that a payment is withheld.
    """

    kind: Kind = "outage"
    drawn_by: Weighting = "value"
    earliest: float = 0.2
    latest: float = 0.8
    median_repair_s: float = 21_600.0
    repair_sigma: float = 1.0
    withheld_share: float = 0.8

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        for name, choices in (("kind", ("outage", "stress")), ("drawn_by", ("value", "uniform"))):
            if getattr(self, name) not in choices:
                remedy = f"Choose one of: {', '.join(choices)}."
                raise BadInputError(field=name, value=getattr(self, name), remedy=remedy)
        if not 0 <= self.earliest < self.latest <= 1:
            span = f"{self.earliest} to {self.latest}"
            raise BadInputError(field="earliest, latest", value=span, remedy="Give shares of a day, rising.")
        if not (0 < self.median_repair_s < np.inf and 0 <= self.repair_sigma < np.inf):
            span = f"{self.median_repair_s}, {self.repair_sigma}"
            remedy = "Give a time above 0 and a deviation of at least 0."
            raise BadInputError(field="median_repair_s, repair_sigma", value=span, remedy=remedy)
        if not 0 < self.withheld_share <= 1:
            remedy = "Give a share above 0 and at most 1."
            raise BadInputError(field="withheld_share", value=self.withheld_share, remedy=remedy)


@dataclass(frozen=True, kw_only=True, eq=False)
class Incident:
    """One incident, and what it does to the payments of the days.

    Attributes:
        bank: Who is hit.
        onset_s: When, on the axis of the days.
        over_s: When it is over; after the last close for stress.
        payments: What reaches the system: all of them, or all that are not withheld.
        withheld: Payments that never reach it; no rows for an outage.
        actions: The outage; nothing for stress.
        seen_s: When the watcher sees each of `payments` submitted; infinite if never (P,).
    """

    bank: int
    onset_s: float
    over_s: float
    payments: DayPayments
    withheld: DayPayments
    actions: tuple[Action, ...]
    seen_s: Doubles


def draw_incident(
    world: BankWorld, payments: DayPayments, settings: IncidentSettings, *, horizon_s: float, seed: int
) -> Incident:
    """Return an incident on these days; who, when and how long depend on `seed` and the world alone."""
    rng = derive(seed, "incident")
    weight_N = np.ones(world.num_banks)
    if settings.drawn_by == "value":
        weight_N = np.asarray(world.value_NN.sum(axis=1)).ravel()
    bank = int(rng.choice(world.num_banks, p=weight_N / weight_N.sum()))
    onset_s = float(rng.uniform(settings.earliest, settings.latest) * world.settings.day_s)
    length_s = settings.median_repair_s * float(np.exp(settings.repair_sigma * rng.standard_normal()))
    affected_P = (payments.sender == bank) & (payments.time_s >= onset_s)
    if settings.kind == "stress":
        kept_P = ~(affected_P & (rng.random(len(payments)) < settings.withheld_share))
        submitted = take_payments(payments, kept_P)
        return Incident(
            bank=bank,
            onset_s=onset_s,
            over_s=np.inf,
            payments=submitted,
            withheld=take_payments(payments, ~kept_P),
            actions=(),
            seen_s=submitted.time_s,
        )
    over_s = onset_s + length_s
    held_P = affected_P & (payments.time_s < over_s)
    repaired_s = over_s if over_s <= horizon_s else np.inf
    return Incident(
        bank=bank,
        onset_s=onset_s,
        over_s=over_s,
        payments=payments,
        withheld=take_payments(payments, np.zeros(len(payments), dtype=bool)),
        actions=outage(bank=bank, start_s=onset_s, end_s=over_s),
        seen_s=np.where(held_P, repaired_s, payments.time_s),
    )


def take_payments(payments: DayPayments, chosen_P: NDArray[np.bool_]) -> DayPayments:
    """Return some rows of payments that were checked before."""
    return DayPayments(
        time_s=payments.time_s[chosen_P],
        sender=payments.sender[chosen_P],
        receiver=payments.receiver[chosen_P],
        amount_minor=payments.amount_minor[chosen_P],
        priority=payments.priority[chosen_P],
        num_banks=payments.num_banks,
    )
