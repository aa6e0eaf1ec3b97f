"""What happens to banks besides payments: outages, limits, reserves, caps, injections.

An action is a plain record with a time, so that a study can let the same action come earlier or
later. Actions may be given in any order: they are sorted by time, and equal times keep the order given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from warmprompt.errors import BadInputError
from warmprompt.risk.settlement.payments import MAX_TOTAL_MINOR

Kind = Literal["down", "up", "limit", "cut", "reserve", "cap", "inject"]

KINDS: tuple[Kind, ...] = ("down", "up", "limit", "cut", "reserve", "cap", "inject")
EVERY = -1
NO_LIMIT_MINOR = 2**63 - 1
NOTHING_MINOR = -(2**63) + 1


@dataclass(frozen=True, kw_only=True)
class Action:
    """One change of what a bank can or will do; made by the functions of this module.

    Attributes:
        time_s: When it takes effect, before payments of the same second; after the close it has none.
        kind: What changes.
        bank: Whose balance or sending changes; EVERY for all senders.
        other: The paid bank of a limit; EVERY for all. Not used by other kinds.
        amount_minor: The new limit, reserve or cap, or the money injected.
    """

    time_s: float
    kind: Kind
    bank: int
    other: int = EVERY
    amount_minor: int = 0


def outage(*, bank: int, start_s: float, end_s: float) -> tuple[Action, Action]:
    """Return an outage: the bank sends nothing from `start_s` until `end_s`, and receives on.

    Payments due meanwhile are held at the bank, unseen by the system, and enter its queue at `end_s`.
    An `end_s` after the close lasts to the end of the day. Outages of one bank may overlap.

    Raises:
        BadInputError: The outage ends before it starts.
    """
    if not start_s < end_s:
        span = f"{start_s} to {end_s}"
        raise BadInputError(field="outage", value=span, remedy="Let it start before it ends.")
    down = Action(time_s=start_s, kind="down", bank=bank)
    return down, replace(down, time_s=end_s, kind="up")


def limit(*, time_s: float, bank: int, other: int, amount_minor: int) -> Action:
    """Return a bilateral limit: `bank` sends `other` at most this much more than it gets back, over the day.

    Either may be EVERY: all banks towards `other`, or `bank` towards all, each pair on its own. A
    payment over its limit waits without holding up those behind it.
    """
    return Action(time_s=time_s, kind="limit", bank=bank, other=other, amount_minor=amount_minor)


def block(*, time_s: float, bank: int, other: int) -> Action:
    """Return a stop of all sending from `bank` to `other`, whatever comes back (either may be EVERY)."""
    return Action(time_s=time_s, kind="limit", bank=bank, other=other, amount_minor=NOTHING_MINOR)


def lift(*, time_s: float, bank: int, other: int) -> Action:
    """Return the end of a limit, stop or cut from `bank` to `other` (either may be EVERY)."""
    return Action(time_s=time_s, kind="limit", bank=bank, other=other, amount_minor=NO_LIMIT_MINOR)


def cut_exposure(*, time_s: float, bank: int, other: int, amount_minor: int = 0) -> Action:
    """Return a limit at what is out at that moment: max(0, sent less got back) plus `amount_minor`.

    From then on `bank` sends `other` only what comes back (either may be EVERY). A limit that is
    lower already stays.
    """
    return Action(time_s=time_s, kind="cut", bank=bank, other=other, amount_minor=amount_minor)


def reserve(*, time_s: float, bank: int, amount_minor: int) -> Action:
    """Return hoarding: `bank` keeps back this much of its balance plus cap; 0 ends it (EVERY for all)."""
    return Action(time_s=time_s, kind="reserve", bank=bank, amount_minor=amount_minor)


def set_cap(*, time_s: float, bank: int, amount_minor: int) -> Action:
    """Return a new overdraft cap (EVERY for all); a bank below it sends nothing until it is back."""
    return Action(time_s=time_s, kind="cap", bank=bank, amount_minor=amount_minor)


def inject(*, time_s: float, bank: int, amount_minor: int) -> Action:
    """Return an injection: the central bank adds money to a balance (EVERY: to each)."""
    return Action(time_s=time_s, kind="inject", bank=bank, amount_minor=amount_minor)


def require_actions(actions: Sequence[Action], num_banks: int) -> None:
    """Refuse actions without a meaning.

    Raises:
        BadInputError: A time that is no number, a bank that does not exist, or an amount that is no
            integer, negative, or 2^62 or more; names the action's place.
    """
    for index, action in enumerate(actions):
        _require_action(action, f"action {index} ({action.kind})", num_banks)


def _require_action(action: Action, field: str, num_banks: int) -> None:
    if action.kind not in KINDS:
        raise BadInputError(field=field, value=action.kind, remedy=f"Choose one of: {', '.join(KINDS)}.")
    if np.isnan(action.time_s):
        raise BadInputError(field=f"{field}, time_s", value=action.time_s, remedy="Give seconds.")
    for name, bank in (("bank", action.bank), ("other", action.other)):
        if not EVERY <= bank < num_banks:
            remedy = f"Name a bank from 0 to {num_banks - 1}, or {EVERY} for all."
            raise BadInputError(field=f"{field}, {name}", value=bank, remedy=remedy)
    amount = action.amount_minor
    if action.kind == "limit" and amount in {NO_LIMIT_MINOR, NOTHING_MINOR}:
        return
    lowest = 1 if action.kind == "inject" else 0
    if isinstance(amount, float) or not lowest <= amount < MAX_TOTAL_MINOR:
        remedy = f"Give a whole amount of at least {lowest} and below 2^62 minor units."
        raise BadInputError(field=f"{field}, amount_minor", value=amount, remedy=remedy)
