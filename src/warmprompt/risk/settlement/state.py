"""The tables the compiled code works on, and how one payment moves through them.

N is banks, P payments, L priority levels, K pairs (i, j) with a payment from i to j, F fields of a
sample. A queue is a doubly linked list per bank and level. Few wide tables instead of many columns:
compiled code pays for every array it hands from function to function.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from warmprompt.risk.compiling import compiled, forget_stale
from warmprompt.risk.settlement.payments import Doubles, Longs

# Columns of `banks`. The first five are counted since the last sample; with the next five, the
# present state, they make a sample.
SENT, RECEIVED, NUM_SENT, NUM_RECEIVED, NUM_SUBMITTED = 0, 1, 2, 3, 4
NUM_QUEUED, QUEUED, NUM_HELD, HELD, BALANCE = 5, 6, 7, 8, 9
NUM_FLOWS, NUM_FIELDS = 5, 10
INCOMING, CAP, RESERVE, FUNDING, USED, OVERDRAFT, DOWN, IN_LINE = 10, 11, 12, 13, 14, 15, 16, 17
# The payment that ended the last pass through a queue (-1: none did), and whether the next pass must
# begin at the front.
STUCK, ANEW = 18, 19
NUM_BANK_COLUMNS = 20

# Columns of `payments`, of `clock`, of `pairs` and of `queues`.
SENDER, RECEIVER, AMOUNT, LEVEL, PAIR, NEXT, PREVIOUS, BATCH, HOW = 0, 1, 2, 3, 4, 5, 6, 7, 8
NUM_PAYMENT_COLUMNS = 9
DUE, SETTLED = 0, 1
NET, LIMIT, BACK, FROM, WAITING = 0, 1, 2, 3, 4
NUM_PAIR_COLUMNS = 5
HEAD, TAIL = 0, 1

# Places in `tally`: the first five are counted, the others stay.
BATCHES, CHECKS, FAULTS, LINE_HEAD, LINE_SIZE = 0, 1, 2, 3, 4
MONEY, NUM_LEVELS, BYPASS, IN_CYCLES, CHECKED = 5, 6, 7, 8, 9
NUM_TALLIES = 10

UNSETTLED, GROSS, BILATERAL, MULTILATERAL = 0, 1, 2, 3


class Day(NamedTuple):
    """The day so far; columns of the tables are named above."""

    banks: Longs
    payments: Longs
    clock: Doubles
    pairs: Longs
    queues: Longs
    line: Longs
    delay_s: Doubles
    tally: Longs


forget_stale(Path(__file__).parent)


@compiled
def enqueue(p: int, day: Day) -> None:
    """Put a payment at the end of its bank's queue; while the bank is down, unseen by the system."""
    bank, amount = day.payments[p, SENDER], day.payments[p, AMOUNT]
    index = bank * day.tally[NUM_LEVELS] + day.payments[p, LEVEL]
    last = day.queues[index, TAIL]
    day.payments[p, PREVIOUS], day.payments[p, NEXT] = last, -1
    if last < 0:
        day.queues[index, HEAD] = p
    else:
        day.payments[last, NEXT] = p
    day.queues[index, TAIL] = p
    day.pairs[day.payments[p, PAIR], WAITING] += 1
    if day.banks[bank, DOWN] > 0:
        day.banks[bank, NUM_HELD] += 1
        day.banks[bank, HELD] += amount
    else:
        day.banks[bank, NUM_SUBMITTED] += 1
        day.banks[bank, NUM_QUEUED] += 1
        day.banks[bank, QUEUED] += amount


@compiled
def dequeue(p: int, day: Day) -> None:
    """Take a payment out of its bank's queue."""
    bank = day.payments[p, SENDER]
    index = bank * day.tally[NUM_LEVELS] + day.payments[p, LEVEL]
    before, after = day.payments[p, PREVIOUS], day.payments[p, NEXT]
    if before < 0:
        day.queues[index, HEAD] = after
    else:
        day.payments[before, NEXT] = after
    if after < 0:
        day.queues[index, TAIL] = before
    else:
        day.payments[after, PREVIOUS] = before
    day.pairs[day.payments[p, PAIR], WAITING] -= 1
    day.banks[bank, NUM_QUEUED] -= 1
    day.banks[bank, QUEUED] -= day.payments[p, AMOUNT]


@compiled
def room(bank: int, day: Day) -> int:
    """Return what a bank can still send: balance + cap - reserve."""
    return int(day.banks[bank, BALANCE] + day.banks[bank, CAP] - day.banks[bank, RESERVE])


@compiled
def move(p: int, now_s: float, how: int, day: Day) -> None:
    """Take a payment out of its queue, move its money and write down when and how."""
    sender, receiver, amount = day.payments[p, SENDER], day.payments[p, RECEIVER], day.payments[p, AMOUNT]
    dequeue(p, day)
    day.banks[sender, BALANCE] -= amount
    if how == GROSS and day.tally[IN_CYCLES] == 1:
        day.banks[receiver, INCOMING] += amount
    else:
        day.banks[receiver, BALANCE] += amount
    pair = day.payments[p, PAIR]
    back = day.pairs[pair, BACK]
    day.pairs[pair, NET] += amount
    if back >= 0:
        day.pairs[back, NET] -= amount
    day.clock[p, SETTLED] = now_s
    day.payments[p, HOW] = how
    day.payments[p, BATCH] = day.tally[BATCHES]
    day.banks[sender, SENT] += amount
    day.banks[sender, NUM_SENT] += 1
    day.banks[receiver, RECEIVED] += amount
    day.banks[receiver, NUM_RECEIVED] += 1
    day.delay_s[sender] += now_s - day.clock[p, DUE]


@compiled
def note_use(bank: int, day: Day) -> None:
    """Write down what a sender has used; it is a fault if it went below its floor."""
    balance = day.banks[bank, BALANCE]
    day.banks[bank, USED] = max(day.banks[bank, USED], day.banks[bank, FUNDING] - balance)
    day.banks[bank, OVERDRAFT] = max(day.banks[bank, OVERDRAFT], -balance)
    if day.tally[CHECKED] == 1 and room(bank, day) < 0:
        day.tally[FAULTS] += 1


@compiled
def check_money(day: Day) -> None:
    """Add up all balances; it is a fault if they differ from the money that was given out."""
    if day.tally[CHECKED] == 1:
        total = 0
        for bank in range(len(day.banks)):
            total += day.banks[bank, BALANCE] + day.banks[bank, INCOMING]
        day.tally[CHECKS] += 1
        if total != day.tally[MONEY]:
            day.tally[FAULTS] += 1
