"""A day of own payments, from messages or a table, ready to be settled. N is banks, P payments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation

import numpy as np
import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.risk.network.edges import numbers
from warmprompt.risk.network.payments import (
    CreditTransfer,
    PaymentReturn,
    minor_units,
    network_from_payments,
)
from warmprompt.risk.settlement.payments import Banks, DayPayments, Longs, banks_table, payments_table

_HOUR_S, _DAY_S = 3_600.0, 86_400.0
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?")
_PRIORITY = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnDay:
    """Payments of one day between named banks.

    Attributes:
        nodes: Names of the banks, sorted (N,).
        payments: Times are seconds from the midnight before the first payment.
        open_s: The full hour before the first payment.
        close_s: The full hour after the last one.
    """

    nodes: tuple[str, ...]
    payments: DayPayments
    open_s: float
    close_s: float


def day_from_messages(
    payments: Iterable[CreditTransfer | PaymentReturn], *, currency: str, nodes: Sequence[str] = ()
) -> OwnDay:
    """Return the day of payments from messages.

    A payment is due when its message was created (CreDtTm), or else when it was settled.

    Args:
        payments: Of one currency and one day.
        currency: Which.
        nodes: Further banks that take part.

    Raises:
        BadInputError: As `network_from_payments`, or there is a return, a payment without a time, or more
            than a day between two of them.
    """
    given = list(payments)
    transfers = [one for one in given if isinstance(one, CreditTransfer)]
    if len(transfers) < len(given):
        name = next(one.message_id for one in given if isinstance(one, PaymentReturn))
        remedy = "Leave returns (pacs.004) out: they do not say when they were due."
        raise BadInputError(field="payments of a day", value=f"return {name}", remedy=remedy)
    # Refuses what is no set of payments of one currency: other currencies, legs that come twice, no parties.
    network_from_payments(transfers, currency=currency)
    times = [_time_of(one) for one in transfers]
    parties = [(one.instructing, one.instructed) for one in transfers]
    return _day(
        _seconds(times),
        [payer.id for payer, _ in parties if payer],
        [payee.id for _, payee in parties if payee],
        np.array([one.amount_minor for one in transfers], dtype=np.int64),
        priority=None,
        nodes=nodes,
    )


def day_from_table(table: pl.DataFrame, called: str, *, currency: str, nodes: Sequence[str] = ()) -> OwnDay:
    """Return the day of a table with a row per payment, in any order.

    Args:
        table: `time` (ISO 8601, or HH:MM:SS) or `time_s` (seconds from midnight), `payer`, `payee`,
            `amount_minor` or `amount` and, if any, `priority` from 0 (most urgent) to 9.
        called: Its name in errors.
        currency: ISO 4217 code: it says how many decimals an amount has.
        nodes: Further banks that take part.

    Raises:
        BadInputError: A column is missing, a cell is no time or amount, a bank is not named or pays itself,
            or more than a day is between two payments.
    """
    pairs = (("time_s", "time"), ("payer",), ("payee",), ("amount_minor", "amount"))
    names = [next((name for name in pair if name in table.columns), "") for pair in pairs]
    if not all(names):
        remedy = "Give columns time or time_s, payer, payee, amount_minor or amount."
        raise BadInputError(field=f"columns of {called}", value=", ".join(table.columns), remedy=remedy)
    if table.is_empty():
        raise BadInputError(field=called, value="no row", remedy="Give a row per payment.")
    time, payer, payee, amount = (table[name] for name in names)
    if names[0] == "time_s":
        time_s = numbers(time, whole=False, field=f"{called}, column 'time_s'").astype(np.float64)
    else:
        time_s = _seconds([_read_time(text, row, called) for row, text in enumerate(_texts(time), start=1)])
    priority = None
    if "priority" in table.columns:
        column = table["priority"].cast(pl.String).fill_null(str(_PRIORITY))
        priority = numbers(column, whole=True, field=f"{called}, column 'priority'")
    return _day(
        time_s,
        _named(payer, called),
        _named(payee, called),
        money(amount, currency, called),
        priority=priority,
        nodes=nodes,
    )


def opening_balances(table: pl.DataFrame, day_nodes: Sequence[str], called: str, *, currency: str) -> Banks:
    """Return the banks of a day from a table with a row per bank.

    Args:
        table: `bank`, `opening_minor` or `opening` and, if any, `cap_minor` or `cap`, `reserve_minor` or
            `reserve`.
        day_nodes: The banks of the day, whose order is taken.
        called: Its name in errors.
        currency: ISO 4217 code.

    Raises:
        BadInputError: A column or a bank is missing, a bank comes twice, or a cell is no amount from 0.
    """
    if "bank" not in table.columns or not {"opening_minor", "opening"} & {*table.columns}:
        remedy = "Give columns bank and opening_minor or opening; if any, cap_minor and reserve_minor."
        raise BadInputError(field=f"columns of {called}", value=", ".join(table.columns), remedy=remedy)
    banks = _named(table["bank"], called)
    row_of = {bank: row for row, bank in enumerate(banks)}
    missing = [bank for bank in day_nodes if bank not in row_of]
    if missing or len(row_of) < len(banks):
        wrong = missing[0] if missing else next(one for one in banks if banks.count(one) > 1)
        raise BadInputError(field=f"bank of {called}", value=wrong, remedy="Give every bank one row.")
    order = [row_of[bank] for bank in day_nodes]
    columns = {}
    for name in ("opening", "cap", "reserve"):
        column = next((one for one in (f"{name}_minor", name) if one in table.columns), None)
        if column is not None:
            values = money(table[column], currency, called, lowest=0)
            columns[f"{name}_minor"] = values[order]
    return banks_table(**columns)


def money(column: pl.Series, currency: str, called: str, *, lowest: int = 1) -> Longs:
    """Return a column of money in whole minor units; a name that ends in "_minor" says that it is so already.

    Raises:
        BadInputError: A cell is no amount, has more decimals than the currency, or is too small.
    """
    if column.name.endswith("_minor"):
        values: Longs = numbers(column, whole=True, field=f"{called}, column {column.name!r}")
    else:
        values = np.array([_minor(text, currency, row, called) for row, text in enumerate(_texts(column), 1)])
    if (values < lowest).any():
        row = int(np.argmax(values < lowest))
        remedy = f"Give an amount of at least {lowest} minor units."
        raise BadInputError(field=f"{called}, {column.name}, row {row + 1}", value=values[row], remedy=remedy)
    return values


def _minor(text: str, currency: str, row: int, called: str) -> int:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise BadInputError(field=f"amount of {called}, row {row}", value=text, remedy="Give a number.")
    return minor_units(amount, currency)


def _day(
    time_s: np.ndarray,
    payers: Sequence[str],
    payees: Sequence[str],
    amount_minor: Longs,
    *,
    priority: Longs | None,
    nodes: Sequence[str],
) -> OwnDay:
    names = tuple(sorted({*payers, *payees, *nodes}))
    index = {name: position for position, name in enumerate(names)}
    order = np.argsort(time_s, kind="stable")
    if len(time_s) and time_s[order[-1]] - time_s[order[0]] > _DAY_S:
        hours = (time_s[order[-1]] - time_s[order[0]]) / _HOUR_S
        remedy = "Give the payments of one day."
        raise BadInputError(field="times of payments", value=f"{hours:.1f} hours apart", remedy=remedy)
    payments = payments_table(
        time_s=time_s[order],
        sender=np.array([index[name] for name in payers], dtype=np.int64)[order],
        receiver=np.array([index[name] for name in payees], dtype=np.int64)[order],
        amount_minor=amount_minor[order],
        priority=None if priority is None else priority[order],
        num_banks=len(names),
    )
    first, last = float(payments.time_s[0]), float(payments.time_s[-1])
    open_s = np.floor(first / _HOUR_S) * _HOUR_S
    close_s = max(np.ceil(last / _HOUR_S) * _HOUR_S, open_s + _HOUR_S)
    return OwnDay(nodes=names, payments=payments, open_s=float(open_s), close_s=float(close_s))


def _time_of(payment: CreditTransfer) -> datetime:
    where = f"payment {payment.end_to_end_id} of {payment.message_id}"
    if payment.created_at:
        return _parsed(payment.created_at, f"CreDtTm of {where}")
    if payment.settled_at is None:
        remedy = "Give CreDtTm or SttlmTmIndctn."
        raise BadInputError(field=f"time of {where}", value="missing", remedy=remedy)
    return payment.settled_at


def _parsed(text: str, where: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        remedy = "Write it as ISO 8601, such as 2026-03-02T10:15:30."
        raise BadInputError(field=where, value=text, remedy=remedy) from None


def _read_time(text: str, row: int, called: str) -> datetime:
    clock = _CLOCK.fullmatch(text)
    if clock:
        hours, minutes, seconds = int(clock[1]), int(clock[2]), float(clock[3] or 0)
        return datetime(2000, 1, 1) + timedelta(hours=hours, minutes=minutes, seconds=seconds)  # noqa: DTZ001  a clock
    return _parsed(text, f"time of {called}, row {row}")


def _seconds(times: Sequence[datetime]) -> np.ndarray:
    """Return seconds from the midnight before the earliest time, on its clock."""
    if len({one.tzinfo is None for one in times}) > 1:
        remedy = "Write all times with an offset, or none."
        raise BadInputError(field="times of payments", value="some with an offset", remedy=remedy)
    first = min(times)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
    return np.array([(one - midnight).total_seconds() for one in times])


def _texts(column: pl.Series) -> list[str]:
    if column.dtype.is_temporal():
        column = column.dt.to_string("iso")
    return column.cast(pl.String).fill_null("").str.strip_chars().to_list()


def _named(column: pl.Series, called: str) -> list[str]:
    texts = _texts(column)
    if "" in texts:
        field = f"{called}, column {column.name!r}, row {texts.index('') + 1}"
        raise BadInputError(field=field, value="", remedy="Name the bank.")
    return texts
