"""What is given to a settlement day: payments, banks and their liquidity, rules.

N is banks, P payments. Money is whole minor units (cents) in int64, so sums are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from warmprompt.errors import BadInputError

Longs = NDArray[np.int64]
Doubles = NDArray[np.float64]

MAX_TOTAL_MINOR = 2**62
NUM_PRIORITIES = 10

Order = Literal["fifo", "priority"]
Offsetting = Literal["none", "bilateral", "multilateral", "both"]


@dataclass(frozen=True, kw_only=True, eq=False)
class DayPayments:
    """The payments of one day in order of time; made by `payments_table`, which checks them.

    Attributes:
        time_s: When each is due, seconds, ascending; equal times keep their row order (P,).
        sender: Paying bank, 0 .. N - 1 (P,).
        receiver: Paid bank, never the sender (P,).
        amount_minor: Whole minor units, at least 1 (P,).
        priority: 0 (most urgent) to 9 (P,).
        num_banks: N.
    """

    time_s: Doubles
    sender: Longs
    receiver: Longs
    amount_minor: Longs
    priority: Longs
    num_banks: int

    def __len__(self) -> int:
        """Return the number of payments."""
        return len(self.time_s)


@dataclass(frozen=True, kw_only=True, eq=False)
class Banks:
    """What the banks start the day with; made by `banks_table`, which checks it.

    Attributes:
        opening_minor: Balance at the central bank, at least 0 (N,).
        cap_minor: How far below 0 a balance may go (intraday credit), at least 0 (N,).
        reserve_minor: How much of balance plus cap a bank keeps back, at least 0 (N,).
    """

    opening_minor: Longs
    cap_minor: Longs
    reserve_minor: Longs

    def __len__(self) -> int:
        """Return the number of banks."""
        return len(self.opening_minor)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the system settles.

    Args:
        open_s: Start of the day, seconds.
        close_s: End of the day; the last cycle, offsetting run and sample happen then.
        order: "fifo" by time, or "priority" first and time second.
        bypass: Whether a payment may overtake one that its bank cannot afford. Without it the first
            such payment blocks those behind it.
        offsetting: What the runs against gridlock do; "both" is bilateral, then multilateral.
        offset_every_s: Seconds between two runs.
        cycle_s: 0 settles each payment the moment it can be. Otherwise queues are only looked at in
            cycles, `cycle_s` apart from `open_s` on, and receipts of a cycle are spent in the next.
        sample_s: Seconds between two samples of the series per bank; None records none.
    """

    open_s: float = 0.0
    close_s: float = 79_200.0
    order: Order = "fifo"
    bypass: bool = False
    offsetting: Offsetting = "none"
    offset_every_s: float = 900.0
    cycle_s: float = 0.0
    sample_s: float | None = 900.0

    def __post_init__(self) -> None:
        """Refuse values without a meaning."""
        if not (np.isfinite(self.open_s) and np.isfinite(self.close_s) and self.open_s < self.close_s):
            span = f"{self.open_s} to {self.close_s}"
            raise BadInputError(
                field="open_s, close_s", value=span, remedy="Open before closing, in seconds."
            )
        _choose("order", self.order, ("fifo", "priority"))
        _choose("offsetting", self.offsetting, ("none", "bilateral", "multilateral", "both"))
        _require_step("offset_every_s", self.offset_every_s)
        if self.cycle_s != 0:
            _require_step("cycle_s", self.cycle_s)
        if self.sample_s is not None:
            _require_step("sample_s", self.sample_s)


def payments_table(
    *,
    time_s: ArrayLike,
    sender: ArrayLike,
    receiver: ArrayLike,
    amount_minor: ArrayLike,
    priority: ArrayLike | None = None,
    num_banks: int,
) -> DayPayments:
    """Return checked payments; no rows is a day without payments.

    Args:
        time_s: Seconds, ascending (P,).
        sender: Paying banks as integers from 0 (P,).
        receiver: Paid banks (P,).
        amount_minor: Integers above 0 (P,).
        priority: 0 (most urgent) to 9; all 5 where left out (P,).
        num_banks: N, at least 1.

    Raises:
        BadInputError: Columns of different lengths, a time that is not finite or earlier than the row
            above, a bank outside 0 .. N - 1, a payment to oneself, an amount that is no integer above
            0, a priority outside 0 .. 9, or amounts that add up to 2^62 or more; names the row.
    """
    if num_banks < 1:
        raise BadInputError(field="num_banks", value=num_banks, remedy="Give at least one bank.")
    times = np.asarray(time_s, dtype=np.float64)
    amounts = _integers("amount_minor", amount_minor)
    table = DayPayments(
        time_s=times,
        sender=_integers("sender", sender),
        receiver=_integers("receiver", receiver),
        amount_minor=amounts,
        priority=np.full(len(times), 5) if priority is None else _integers("priority", priority),
        num_banks=num_banks,
    )
    lengths = {
        len(table.sender), len(table.receiver), len(amounts), len(table.priority), len(times)
    }  # fmt: skip
    if len(lengths) > 1:
        remedy = "Give columns of one length."
        raise BadInputError(field="payments", value=f"columns of {sorted(lengths)} rows", remedy=remedy)
    _refuse("time_s", times, ~np.isfinite(times), "Give finite seconds.")
    late = np.zeros(len(times), dtype=bool)
    late[1:] = np.diff(times) < 0
    _refuse("time_s", times, late, "It is earlier than the row above; sort the payments by time.")
    for name, banks in (("sender", table.sender), ("receiver", table.receiver)):
        _refuse(name, banks, (banks < 0) | (banks >= num_banks), f"Name a bank from 0 to {num_banks - 1}.")
    _refuse("receiver", table.receiver, table.sender == table.receiver, "A bank cannot pay itself.")
    _refuse("amount_minor", amounts, amounts <= 0, "Give an amount above 0.")
    bad = (table.priority < 0) | (table.priority >= NUM_PRIORITIES)
    _refuse("priority", table.priority, bad, f"Give a priority from 0 (most urgent) to {NUM_PRIORITIES - 1}.")
    require_total("amount_minor", exact_sum(amounts))
    return table


def banks_table(
    *, opening_minor: ArrayLike, cap_minor: ArrayLike | None = None, reserve_minor: ArrayLike | None = None
) -> Banks:
    """Return checked banks; caps and reserves are 0 where left out.

    Raises:
        BadInputError: No bank, columns of different lengths, values that are no integers of at least 0,
            or a column that adds up to 2^62 or more; names the row.
    """
    opening = _integers("opening_minor", opening_minor)
    columns = {"opening_minor": opening}
    for name, given in (("cap_minor", cap_minor), ("reserve_minor", reserve_minor)):
        columns[name] = np.zeros_like(opening) if given is None else _integers(name, given)
    if not len(opening):
        raise BadInputError(field="opening_minor", value="no rows", remedy="Give at least one bank.")
    for name, column in columns.items():
        if len(column) != len(opening):
            value = f"{len(column)} rows beside {len(opening)} opening balances"
            raise BadInputError(field=name, value=value, remedy="Give one value per bank.")
        _refuse(name, column, column < 0, "Give an amount of at least 0.")
        require_total(name, exact_sum(column))
    return Banks(**columns)


def liquidity_bounds(payments: DayPayments) -> tuple[Longs, Longs]:
    """Return each bank's lower and upper bound of liquidity for the day, minor units, both (N,).

    Lower: what it pays more than it receives over the day, or 0. With less, not even settling all
    payments at once at the close would do. Upper: the highest point of payments made less payments
    received, in order of time. With it nothing ever waits.

    Source: Leinonen & Soramaki 1999.
    """
    num = payments.num_banks
    banks = np.stack([payments.sender, payments.receiver], axis=1).ravel()
    flow = np.stack([payments.amount_minor, -payments.amount_minor], axis=1).ravel()
    by_bank = np.argsort(banks, kind="stable")
    start = np.searchsorted(banks[by_bank], np.arange(num + 1))
    lower, upper = np.zeros(num, dtype=np.int64), np.zeros(num, dtype=np.int64)
    for bank in np.flatnonzero(np.diff(start)):
        position = np.cumsum(flow[by_bank[start[bank] : start[bank + 1]]])
        lower[bank], upper[bank] = max(0, position[-1]), max(0, position.max())
    return lower, upper


def exact_sum(values: Longs) -> int:
    """Return the sum of int64 values without overflow."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def require_total(field: str, total: int) -> None:
    """Refuse a total that would not fit the arithmetic.

    Raises:
        BadInputError: `total` is 2^62 or more.
    """
    if total >= MAX_TOTAL_MINOR:
        raise BadInputError(
            field=f"total of {field}", value=total, remedy="Keep totals below 2^62 minor units."
        )


def _integers(field: str, values: ArrayLike) -> Longs:
    """Return a column as int64; numbers with a point are refused, not rounded."""
    column: NDArray[Any] = np.asarray(values)
    if column.ndim != 1:
        raise BadInputError(field=field, value=f"shape {column.shape}", remedy="Give one column.")
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    if column.dtype.kind == "f":
        _refuse(field, column, ~np.isfinite(column), "Give whole numbers.")
    if column.dtype.kind not in "iu":
        value = f"column of {column.dtype}"
        raise BadInputError(field=field, value=value, remedy="Give integers; money in minor units (cents).")
    if column.dtype.kind == "u":
        _refuse(field, column, column > np.uint64(2**63 - 1), "It does not fit 64 bits.")
    return np.ascontiguousarray(column, dtype=np.int64)


def _refuse(field: str, column: NDArray[Any], bad: NDArray[np.bool_], remedy: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise BadInputError(field=f"{field}, row {row}", value=column[row], remedy=remedy)


def _choose(field: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise BadInputError(field=field, value=value, remedy=f"Choose one of: {', '.join(choices)}.")


def _require_step(field: str, value: float) -> None:
    if not (np.isfinite(value) and value >= 1e-3):
        raise BadInputError(field=field, value=value, remedy="Give at least 0.001 seconds.")
