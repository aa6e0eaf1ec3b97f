"""One settlement day: from payments, banks, rules and actions to who was paid when.

N is banks, P payments, K pairs (i, j) with a payment from i to j, T samples, F fields of a sample.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.risk.settlement.actions import EVERY, KINDS, NO_LIMIT_MINOR, Action, require_actions
from warmprompt.risk.settlement.kernel import Timetable, run_day
from warmprompt.risk.settlement.payments import (
    NUM_PRIORITIES,
    Banks,
    DayPayments,
    Doubles,
    Longs,
    Rules,
    exact_sum,
    require_total,
)
from warmprompt.risk.settlement.result import DayResult, Series
from warmprompt.risk.settlement.state import (
    AMOUNT,
    BACK,
    BALANCE,
    BATCH,
    BYPASS,
    CAP,
    CHECKED,
    CHECKS,
    DUE,
    FAULTS,
    FROM,
    FUNDING,
    HOW,
    IN_CYCLES,
    LEVEL,
    LIMIT,
    MONEY,
    NUM_BANK_COLUMNS,
    NUM_FIELDS,
    NUM_LEVELS,
    NUM_PAIR_COLUMNS,
    NUM_PAYMENT_COLUMNS,
    NUM_TALLIES,
    OVERDRAFT,
    PAIR,
    RECEIVER,
    RESERVE,
    SENDER,
    SETTLED,
    STUCK,
    USED,
    Day,
)

MAX_SERIES_BYTES = 8 * 2**30
MAX_GRID = 10_000_000


def simulate_day(
    payments: DayPayments,
    banks: Banks,
    rules: Rules | None = None,
    actions: Sequence[Action] = (),
    *,
    check: bool = False,
) -> DayResult:
    """Return what became of a day of payments. The same input gives the same result, bit for bit.

    What happens before an action does not depend on it: a study may read the day without it up to
    an alarm, and then run the day again with what the alarm led to.

    Args:
        payments: The day's payments, all between opening and close.
        banks: Balances, caps and reserves at the opening.
        rules: How the system settles; the defaults of `Rules` where left out.
        actions: Outages, limits, reserves, caps, injections; sorted by time, equal times as given.
            Those after the close have no effect.
        check: Add up all balances at every event and test every sender's floor; slower.

    Raises:
        BadInputError: A payment outside the day, an action without a meaning, an outage that ends
            without having begun, money that adds up to 2^62 or more, or more samples than fit.
        MismatchError: Payments and banks are of different numbers of banks.
        IntegrityError: With `check`: money was lost or made, or a bank went below its floor.
    """
    rules = rules or Rules()
    if len(banks) != payments.num_banks:
        value = f"{len(banks)} banks, payments among {payments.num_banks}"
        raise MismatchError(field="banks", value=value, remedy="Give one opening balance per bank.")
    require_actions(actions, len(banks))
    _require_within(payments, rules)
    day = _start(payments, banks, rules, check=check)
    plan = _plan(actions, day, rules)
    _require_money(payments, banks, plan)
    num_samples = len(plan.sample_s)
    size = num_samples * (NUM_FIELDS + 1) * len(banks) * 8
    if size > MAX_SERIES_BYTES:
        remedy = f"Sample less often, or not at all (None); the series would take {size / 2**30:.0f} GiB."
        raise BadInputError(field="sample_s", value=rules.sample_s, remedy=remedy)
    series_TNF = np.zeros((num_samples, len(banks), NUM_FIELDS), dtype=np.int64)
    delay_TN = np.zeros((num_samples, len(banks)))
    run_day(day, plan, series_TNF, delay_TN)
    if day.tally[FAULTS]:
        remedy = "This is a defect of the simulator; report the seed and the rules."
        raise IntegrityError(
            field="settlement checks that failed", value=int(day.tally[FAULTS]), remedy=remedy
        )
    return DayResult(
        payments=payments,
        rules=rules,
        settle_s=day.clock[:, SETTLED].copy(),
        batch=day.payments[:, BATCH].copy(),
        how=day.payments[:, HOW].astype(np.int8),
        closing_minor=day.banks[:, BALANCE].copy(),
        used_minor=day.banks[:, USED].copy(),
        overdraft_minor=day.banks[:, OVERDRAFT].copy(),
        injected_minor=day.banks[:, FUNDING] - banks.opening_minor,
        series=Series(grid_s=plan.sample_s, values_TNF=series_TNF, delay_s_TN=delay_TN),
        num_checks=int(day.tally[CHECKS]),
    )


def _require_within(payments: DayPayments, rules: Rules) -> None:
    if not len(payments):
        return
    for row in (0, len(payments) - 1):
        if not rules.open_s <= payments.time_s[row] <= rules.close_s:
            remedy = f"Keep payments within the day, {rules.open_s} to {rules.close_s} s."
            raise BadInputError(field=f"time_s, row {row}", value=payments.time_s[row], remedy=remedy)


def _require_money(payments: DayPayments, banks: Banks, plan: Timetable) -> None:
    injected = plan.action_amount[plan.action_kind == KINDS.index("inject")]
    columns = [payments.amount_minor, banks.opening_minor, injected]
    require_total("payments, opening balances and injections", sum(exact_sum(column) for column in columns))


def _start(payments: DayPayments, banks: Banks, rules: Rules, *, check: bool) -> Day:
    """Return the day before its first event."""
    num_banks, by_priority = payments.num_banks, rules.order == "priority"
    keys, pair = np.unique(payments.sender * num_banks + payments.receiver, return_inverse=True)
    pairs = np.zeros((len(keys), NUM_PAIR_COLUMNS), dtype=np.int64)
    pairs[:, LIMIT] = NO_LIMIT_MINOR
    pairs[:, FROM] = keys // num_banks
    back_keys = keys % num_banks * num_banks + keys // num_banks
    position = np.searchsorted(keys, back_keys)
    found = np.append(keys, -1)[position] == back_keys
    pairs[:, BACK] = np.where(found, position, -1)

    rows = np.full((len(payments), NUM_PAYMENT_COLUMNS), -1, dtype=np.int64)
    rows[:, SENDER], rows[:, RECEIVER] = payments.sender, payments.receiver
    rows[:, AMOUNT], rows[:, PAIR], rows[:, HOW] = payments.amount_minor, pair, 0
    rows[:, LEVEL] = payments.priority if by_priority else 0
    clock = np.full((len(payments), 2), np.nan)
    clock[:, DUE] = payments.time_s

    table = np.zeros((num_banks, NUM_BANK_COLUMNS), dtype=np.int64)
    table[:, BALANCE] = table[:, FUNDING] = banks.opening_minor
    table[:, STUCK] = -1
    table[:, CAP], table[:, RESERVE] = banks.cap_minor, banks.reserve_minor
    tally = np.zeros(NUM_TALLIES, dtype=np.int64)
    tally[MONEY] = exact_sum(banks.opening_minor)
    tally[NUM_LEVELS] = NUM_PRIORITIES if by_priority else 1
    tally[BYPASS], tally[IN_CYCLES], tally[CHECKED] = rules.bypass, rules.cycle_s > 0, check
    return Day(
        banks=table,
        payments=rows,
        clock=clock,
        pairs=pairs,
        queues=np.full((num_banks * int(tally[NUM_LEVELS]), 2), -1, dtype=np.int64),
        line=np.zeros(num_banks, dtype=np.int64),
        delay_s=np.zeros(num_banks),
        tally=tally,
    )


def _plan(actions: Sequence[Action], day: Day, rules: Rules) -> Timetable:
    ordered = sorted((one for one in actions if one.time_s <= rules.close_s), key=lambda one: one.time_s)
    paid_by_pair = np.zeros(len(day.pairs), dtype=np.int64)
    paid_by_pair[day.payments[:, PAIR]] = day.payments[:, RECEIVER]
    times, kinds, targets, amounts = [], [], [], []
    for action in ordered:
        if action.kind in {"limit", "cut"}:
            selected = (action.bank == EVERY) | (day.pairs[:, FROM] == action.bank)
            selected = selected & ((action.other == EVERY) | (paid_by_pair == action.other))
            found = np.flatnonzero(selected)
        else:
            found = np.arange(len(day.banks)) if action.bank == EVERY else np.array([action.bank])
        targets.append(found)
        times.append(np.full(len(found), action.time_s))
        kinds.append(np.full(len(found), KINDS.index(action.kind)))
        amounts.append(np.full(len(found), action.amount_minor, dtype=np.int64))
    _require_outages(kinds, targets, times)
    runs = _grid(rules, rules.offset_every_s) if rules.offsetting != "none" else np.zeros(0)
    start = np.array([rules.open_s])
    return Timetable(
        action_s=np.concatenate([np.zeros(0), *times]),
        action_kind=_joined(kinds),
        action_target=_joined(targets),
        action_amount=_joined(amounts),
        cycle_s=np.concatenate([start, _grid(rules, rules.cycle_s)]) if rules.cycle_s > 0 else np.zeros(0),
        offset_s=runs,
        sample_s=_grid(rules, rules.sample_s) if rules.sample_s is not None else np.zeros(0),
        bilateral=rules.offsetting in {"bilateral", "both"},
        multilateral=rules.offsetting in {"multilateral", "both"},
    )


def _joined(parts: list[Longs]) -> Longs:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts]).astype(np.int64)


def _require_outages(kinds: list[Longs], targets: list[Longs], times: list[Doubles]) -> None:
    """Refuse the end of an outage that has not begun."""
    depth: dict[int, int] = {}
    for kind, banks, time in zip(kinds, targets, times, strict=True):
        step = {KINDS.index("down"): 1, KINDS.index("up"): -1}.get(int(kind[0]) if len(kind) else -1, 0)
        for bank in banks.tolist() if step else []:
            depth[bank] = depth.get(bank, 0) + step
            if depth[bank] < 0:
                remedy = "Begin each outage before its end; use `outage`."
                raise BadInputError(field=f"end of outage of bank {bank}", value=time[0], remedy=remedy)


def _grid(rules: Rules, step_s: float) -> Doubles:
    """Return open + k step for k = 1, 2, ... before the close, and the close."""
    num = int((rules.close_s - rules.open_s) / step_s)
    if num > MAX_GRID:
        raise BadInputError(field="step", value=f"{step_s} s", remedy=f"Keep to {MAX_GRID} steps a day.")
    grid = rules.open_s + step_s * np.arange(1, num + 1)
    return np.append(grid[grid < rules.close_s - 1e-9], rules.close_s)
