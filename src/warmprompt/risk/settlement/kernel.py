"""The settlement day, event by event, compiled.

At equal times: actions, payments, cycle, run against gridlock, sample. After every action, payment
and run the banks that may be able to send again stand in a line and are served in turn, until nobody
can send any more.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from warmprompt.risk.compiling import compiled
from warmprompt.risk.settlement.offsetting import offset_bilateral, offset_multilateral
from warmprompt.risk.settlement.payments import Doubles, Longs
from warmprompt.risk.settlement.state import (
    AMOUNT,
    ANEW,
    BACK,
    BALANCE,
    BATCHES,
    BYPASS,
    CAP,
    DOWN,
    DUE,
    FROM,
    FUNDING,
    GROSS,
    HEAD,
    HELD,
    IN_CYCLES,
    IN_LINE,
    INCOMING,
    LEVEL,
    LIMIT,
    LINE_HEAD,
    LINE_SIZE,
    MONEY,
    NET,
    NEXT,
    NUM_FIELDS,
    NUM_FLOWS,
    NUM_HELD,
    NUM_LEVELS,
    NUM_QUEUED,
    NUM_SUBMITTED,
    PAIR,
    QUEUED,
    RECEIVER,
    RESERVE,
    SENDER,
    STUCK,
    WAITING,
    Day,
    check_money,
    enqueue,
    move,
    note_use,
    room,
)

# Kinds of actions, by their index in actions.KINDS.
GO_DOWN, COME_UP, SET_LIMIT, CUT_LIMIT, SET_RESERVE, SET_CAP = 0, 1, 2, 3, 4, 5


class Timetable(NamedTuple):
    """What happens when, besides payments; actions name one bank or one pair each."""

    action_s: Doubles
    action_kind: Longs
    action_target: Longs
    action_amount: Longs
    cycle_s: Doubles
    offset_s: Doubles
    sample_s: Doubles
    bilateral: bool
    multilateral: bool


@compiled
def run_day(day: Day, plan: Timetable, series_TNF: Longs, delay_TN: Doubles) -> None:
    """Run the day to its end; results are in `day`, samples in the last two arguments."""
    a = p = c = o = s = 0
    while True:
        action_s = plan.action_s[a] if a < len(plan.action_s) else np.inf
        payment_s = day.clock[p, DUE] if p < len(day.clock) else np.inf
        cycle_s = plan.cycle_s[c] if c < len(plan.cycle_s) else np.inf
        offset_s = plan.offset_s[o] if o < len(plan.offset_s) else np.inf
        sample_s = plan.sample_s[s] if s < len(plan.sample_s) else np.inf
        now_s = min(action_s, payment_s, cycle_s, offset_s, sample_s)
        if now_s == np.inf:
            break
        if action_s == now_s:
            act(plan.action_kind[a], plan.action_target[a], plan.action_amount[a], now_s, day)
            a += 1
        elif payment_s == now_s:
            arrive(p, day)
            p += 1
        elif cycle_s == now_s:
            run_cycle(now_s, day)
            c += 1
        elif offset_s == now_s:
            offset(now_s, plan, day)
            o += 1
        else:
            series_TNF[s] = day.banks[:, :NUM_FIELDS]
            delay_TN[s] = day.delay_s
            day.banks[:, :NUM_FLOWS] = 0
            day.delay_s[:] = 0.0
            s += 1


@compiled
def arrive(p: int, day: Day) -> None:
    """Take in a payment that is due and settle it at once if that can be."""
    enqueue(p, day)
    bank = day.payments[p, SENDER]
    if day.tally[IN_CYCLES] == 1 or day.banks[bank, DOWN] > 0:
        return
    stuck = day.banks[bank, STUCK]
    if day.banks[bank, ANEW] == 1 or (stuck >= 0 and day.tally[NUM_LEVELS] > 1):
        day.banks[bank, ANEW] = 1
        serve_queue(bank, day.clock[p, DUE], day)
    elif stuck < 0 and may_go(p, day):
        # Nothing else of this bank can go, or it would have gone before: no need to look through its queue.
        if day.payments[p, AMOUNT] <= room(bank, day):
            settle(p, day.clock[p, DUE], day)
        elif day.tally[BYPASS] == 0:
            day.banks[bank, STUCK] = p
    serve_line(day.clock[p, DUE], day)


@compiled
def may_go(p: int, day: Day) -> bool:
    """Return whether a payment stays within its pair's limit."""
    pair = day.payments[p, PAIR]
    return bool(day.pairs[pair, NET] + day.payments[p, AMOUNT] <= day.pairs[pair, LIMIT])


@compiled
def settle(p: int, now_s: float, day: Day) -> None:
    """Settle one payment by itself; its receiver joins the line."""
    move(p, now_s, GROSS, day)
    note_use(day.payments[p, SENDER], day)
    check_money(day)
    day.tally[BATCHES] += 1
    receiver, back = day.payments[p, RECEIVER], day.pairs[day.payments[p, PAIR], BACK]
    if day.tally[BYPASS] == 1 or (back >= 0 and day.pairs[back, WAITING] > 0):
        day.banks[receiver, ANEW] = 1  # what the limit towards the sender held back may go now
    join_line(receiver, day)


@compiled
def join_line(bank: int, day: Day) -> None:
    """Let a bank stand at the end of the line, if it is not in it and has something to send."""
    idle = day.banks[bank, DOWN] > 0 or day.banks[bank, NUM_QUEUED] == 0
    if day.tally[IN_CYCLES] == 1 or idle or day.banks[bank, IN_LINE] == 1:
        return
    index = (day.tally[LINE_HEAD] + day.tally[LINE_SIZE]) % len(day.line)
    day.line[index] = bank
    day.banks[bank, IN_LINE] = 1
    day.tally[LINE_SIZE] += 1


@compiled
def serve_line(now_s: float, day: Day) -> None:
    """Serve the banks in line, first come first served, until the line is empty."""
    while day.tally[LINE_SIZE] > 0:
        bank = day.line[day.tally[LINE_HEAD]]
        day.tally[LINE_HEAD] = (day.tally[LINE_HEAD] + 1) % len(day.line)
        day.tally[LINE_SIZE] -= 1
        day.banks[bank, IN_LINE] = 0
        serve_queue(bank, now_s, day)


@compiled
def serve_queue(bank: int, now_s: float, day: Day) -> None:
    """Go once through a bank's queue and settle what can be, in order.

    A payment over its pair's limit is passed over. One that the bank cannot afford ends the pass, or
    is passed over too where the rules let others overtake it. As long as no limit has become wider, all
    before the payment that ended the last pass are still over theirs, and this pass begins there.
    """
    num_levels, stuck = day.tally[NUM_LEVELS], day.banks[bank, STUCK]
    first, p = 0, day.queues[bank * num_levels, HEAD]
    if day.banks[bank, ANEW] == 0:
        if stuck < 0:
            return
        first, p = day.payments[stuck, LEVEL], stuck
    day.banks[bank, STUCK], day.banks[bank, ANEW] = -1, 0
    for level in range(first, num_levels):
        if level > first:
            p = day.queues[bank * num_levels + level, HEAD]
        while p >= 0:
            after = day.payments[p, NEXT]
            if may_go(p, day):
                if day.payments[p, AMOUNT] <= room(bank, day):
                    settle(p, now_s, day)
                elif day.tally[BYPASS] == 0:
                    day.banks[bank, STUCK] = p
                    return
            p = after


@compiled
def run_cycle(now_s: float, day: Day) -> None:
    """Serve every bank once, by number; what they receive is theirs after the cycle."""
    for bank in range(len(day.banks)):
        if day.banks[bank, DOWN] == 0 and day.banks[bank, NUM_QUEUED] > 0:
            day.banks[bank, ANEW] = 1
            serve_queue(bank, now_s, day)
    for bank in range(len(day.banks)):
        day.banks[bank, BALANCE] += day.banks[bank, INCOMING]
        day.banks[bank, INCOMING] = 0
    check_money(day)


@compiled
def offset(now_s: float, plan: Timetable, day: Day) -> None:
    """Run against gridlock, then let every bank that can send again do so, by number."""
    if plan.bilateral:
        offset_bilateral(now_s, day)
    if plan.multilateral:
        offset_multilateral(now_s, day)
    for bank in range(len(day.banks)):
        day.banks[bank, ANEW] = 1
        join_line(bank, day)
    serve_line(now_s, day)


@compiled
def act(kind: int, target: int, amount: int, now_s: float, day: Day) -> None:
    """Apply one action to a bank, or for limits to a pair, and let that bank send what it now can."""
    bank = target
    if kind == SET_LIMIT:
        day.pairs[target, LIMIT] = amount
        bank = day.pairs[target, FROM]
    elif kind == CUT_LIMIT:
        out = max(0, day.pairs[target, NET]) + amount
        day.pairs[target, LIMIT] = min(day.pairs[target, LIMIT], out)
        bank = day.pairs[target, FROM]
    elif kind == GO_DOWN:
        day.banks[bank, DOWN] += 1
    elif kind == COME_UP:
        day.banks[bank, DOWN] -= 1
        if day.banks[bank, DOWN] == 0:
            submit_held(bank, day)
    elif kind == SET_RESERVE:
        day.banks[bank, RESERVE] = amount
    elif kind == SET_CAP:
        day.banks[bank, CAP] = amount
    else:  # INJECT
        day.banks[bank, BALANCE] += amount
        day.banks[bank, FUNDING] += amount
        day.tally[MONEY] += amount
        check_money(day)
    day.banks[bank, ANEW] = 1
    join_line(bank, day)
    serve_line(now_s, day)


@compiled
def submit_held(bank: int, day: Day) -> None:
    """Make the payments held at a bank part of its queue; they are in order already."""
    day.banks[bank, NUM_SUBMITTED] += day.banks[bank, NUM_HELD]
    day.banks[bank, NUM_QUEUED] += day.banks[bank, NUM_HELD]
    day.banks[bank, QUEUED] += day.banks[bank, HELD]
    day.banks[bank, NUM_HELD] = 0
    day.banks[bank, HELD] = 0
