"""Gridlock resolution: payments settled together that could not be settled one after another.

Candidates are the queued payments of banks that are up, in queue order, each within its pair's limit
together with the candidates before it. N is banks, P payments, K pairs, Q candidates.
"""

from __future__ import annotations

import numpy as np

from warmprompt.risk.compiling import compiled
from warmprompt.risk.settlement.payments import Longs
from warmprompt.risk.settlement.state import (
    AMOUNT,
    BACK,
    BATCHES,
    BILATERAL,
    DOWN,
    FROM,
    HEAD,
    LIMIT,
    MULTILATERAL,
    NET,
    NEXT,
    NUM_LEVELS,
    PAIR,
    RECEIVER,
    SENDER,
    Day,
    check_money,
    move,
    note_use,
    room,
)


@compiled
def offsetting_candidates(day: Day) -> tuple[Longs, Longs]:
    """Return candidates bank after bank in queue order (Q,), and where each bank's begin (N + 1,)."""
    num_banks = len(day.banks)
    found = np.empty(len(day.payments), dtype=np.int64)
    start = np.zeros(num_banks + 1, dtype=np.int64)
    asked_K = np.zeros(len(day.pairs), dtype=np.int64)
    num = 0
    for bank in range(num_banks):
        start[bank] = num
        if day.banks[bank, DOWN] == 0:
            for level in range(day.tally[NUM_LEVELS]):
                p = day.queues[bank * day.tally[NUM_LEVELS] + level, HEAD]
                while p >= 0:
                    pair = day.payments[p, PAIR]
                    asked = asked_K[pair] + day.payments[p, AMOUNT]
                    if day.pairs[pair, NET] + asked <= day.pairs[pair, LIMIT]:
                        asked_K[pair] = asked
                        found[num] = p
                        num += 1
                    p = day.payments[p, NEXT]
    start[num_banks] = num
    return found[:num], start


@compiled
def greatest_set(queue: Longs, start: Longs, day: Day, room_N: Longs) -> Longs:
    """Return where each bank's candidates end in the greatest set that settles at once (N,).

    A set takes from each bank the first k_i candidates, and is feasible if every bank with k_i > 0
    has room + received >= sent. The union of two feasible sets is feasible, so one contains all
    others. It is found from all candidates by taking the last one from any bank that cannot pay,
    since no feasible set within the present one contains it. Each candidate leaves once: O(Q).

    Source: Bech & Soramaki 2001, the gridlock resolution problem and its solution.
    """
    num_banks = len(room_N)
    end, left = start[1:].copy(), room_N.copy()
    for p in queue:
        left[day.payments[p, SENDER]] -= day.payments[p, AMOUNT]
        left[day.payments[p, RECEIVER]] += day.payments[p, AMOUNT]
    stack = np.empty(num_banks, dtype=np.int64)
    waiting = np.ones(num_banks, dtype=np.bool_)
    for bank in range(num_banks):
        stack[bank] = bank
    size = num_banks
    while size > 0:
        size -= 1
        bank = stack[size]
        waiting[bank] = False
        while left[bank] < 0 and end[bank] > start[bank]:
            end[bank] -= 1
            p = queue[end[bank]]
            left[bank] += day.payments[p, AMOUNT]
            paid = day.payments[p, RECEIVER]
            left[paid] -= day.payments[p, AMOUNT]
            if not waiting[paid]:
                waiting[paid] = True
                stack[size] = paid
                size += 1
    return end


@compiled
def offset_multilateral(now_s: float, day: Day) -> None:
    """Settle the greatest set of queued payments that respects each bank's queue order."""
    queue, start = offsetting_candidates(day)
    if len(queue) == 0:
        return
    num_banks = len(day.banks)
    room_N = np.empty(num_banks, dtype=np.int64)
    for bank in range(num_banks):
        room_N[bank] = room(bank, day)
    end = greatest_set(queue, start, day, room_N)
    for bank in range(num_banks):
        for index in range(start[bank], end[bank]):
            move(queue[index], now_s, MULTILATERAL, day)
    for bank in range(num_banks):
        if end[bank] > start[bank]:
            note_use(bank, day)
    if (end > start[:-1]).any():
        check_money(day)
        day.tally[BATCHES] += 1


@compiled
def offset_bilateral(now_s: float, day: Day) -> None:
    """Settle, pair after pair in order of bank number, what two banks can settle between themselves.

    Within a pair the order of each queue is kept; payments to others are overtaken. A pair settles
    only if something goes both ways.
    """
    queue, _ = offsetting_candidates(day)
    if len(queue) == 0:
        return
    num_pairs = len(day.pairs)
    first_K = np.full(num_pairs, -1, dtype=np.int64)
    last_K = np.full(num_pairs, -1, dtype=np.int64)
    total_K = np.zeros(num_pairs, dtype=np.int64)
    # Links by index in `queue`, so that they survive the payments leaving their queues.
    later, earlier = np.full(len(queue), -1, dtype=np.int64), np.full(len(queue), -1, dtype=np.int64)
    for index in range(len(queue)):
        pair = day.payments[queue[index], PAIR]
        earlier[index] = last_K[pair]
        if last_K[pair] < 0:
            first_K[pair] = index
        else:
            later[last_K[pair]] = index
        last_K[pair] = index
        total_K[pair] += day.payments[queue[index], AMOUNT]
    for pair in range(num_pairs):
        back = day.pairs[pair, BACK]
        if back > pair and first_K[pair] >= 0 and first_K[back] >= 0:
            _trim(pair, back, queue, earlier, last_K, total_K, day)
            if last_K[pair] >= 0 and last_K[back] >= 0:
                for way in (pair, back):
                    index = first_K[way]
                    while True:
                        move(queue[index], now_s, BILATERAL, day)
                        if index == last_K[way]:
                            break
                        index = later[index]
                note_use(day.pairs[pair, FROM], day)
                note_use(day.pairs[back, FROM], day)
                check_money(day)
                day.tally[BATCHES] += 1


@compiled
def _trim(  # noqa: PLR0913, PLR0917 - arrays of one compiled loop
    pair: int,
    back: int,
    queue: Longs,
    earlier: Longs,
    last_K: Longs,
    total_K: Longs,
    day: Day,
) -> None:
    """Take the last payment from whichever of two banks cannot pay, until both can (or one has none)."""
    room_here = room(day.pairs[pair, FROM], day)
    room_there = room(day.pairs[back, FROM], day)
    while last_K[pair] >= 0 and last_K[back] >= 0:
        if room_here + total_K[back] - total_K[pair] < 0:
            way = pair
        elif room_there + total_K[pair] - total_K[back] < 0:
            way = back
        else:
            break
        total_K[way] -= day.payments[queue[last_K[way]], AMOUNT]
        last_K[way] = earlier[last_K[way]]
