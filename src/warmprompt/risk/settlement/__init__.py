"""A settlement day in a real-time gross settlement system, simulated exactly and fast."""

from warmprompt.risk.settlement.actions import (
    EVERY,
    Action,
    block,
    cut_exposure,
    inject,
    lift,
    limit,
    outage,
    reserve,
    set_cap,
)
from warmprompt.risk.settlement.generator import DayShape, payment_day
from warmprompt.risk.settlement.own_day import (
    OwnDay,
    day_from_messages,
    day_from_table,
    opening_balances,
)
from warmprompt.risk.settlement.payments import (
    Banks,
    DayPayments,
    Rules,
    banks_table,
    liquidity_bounds,
    payments_table,
)
from warmprompt.risk.settlement.result import DayResult, Series
from warmprompt.risk.settlement.simulate import simulate_day

__all__ = [
    "EVERY",
    "Action",
    "Banks",
    "DayPayments",
    "DayResult",
    "DayShape",
    "OwnDay",
    "Rules",
    "Series",
    "banks_table",
    "block",
    "cut_exposure",
    "day_from_messages",
    "day_from_table",
    "inject",
    "lift",
    "limit",
    "liquidity_bounds",
    "opening_balances",
    "outage",
    "payment_day",
    "payments_table",
    "reserve",
    "set_cap",
    "simulate_day",
]
