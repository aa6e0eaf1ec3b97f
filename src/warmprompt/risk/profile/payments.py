"""Card payments as columns, and what everybody else's payments say about a counterparty.

N is payments, W windows, C context columns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]
Bools = NDArray[np.bool_]
Side = Literal["customer", "terminal"]

DAY_S = 86_400
LABEL_DELAY_S = 7 * DAY_S
WINDOWS_S = (1 * DAY_S, 7 * DAY_S, 30 * DAY_S)
# Between them, for profiles: a terminal has about one payment a day, and in the handbook's world a
# compromised one recovers after 28 days, which are the delay and three weeks.
BETWEEN_S = (3 * DAY_S, 14 * DAY_S, 21 * DAY_S)
# Delayed counts, delayed risks, the mean amount of the last 30 days, then counts and risks between.
CONTEXT_NAMES = (
    "count_1d",
    "count_7d",
    "count_30d",
    "risk_1d",
    "risk_7d",
    "risk_30d",
    "log_amount_30d",
    "count_3d",
    "count_14d",
    "count_21d",
    "risk_3d",
    "risk_14d",
    "risk_21d",
)
NUM_CONTEXT = len(CONTEXT_NAMES)
_PER_UNIT = 10**6
# Hundredths of it are exact as doubles, and their sums over a million payments fit into 64 bits.
_MOST = 1e10

_COLUMNS = {
    "TX_DATETIME": "time",
    "CUSTOMER_ID": "customer",
    "TERMINAL_ID": "terminal",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "fraud",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Payments:
    """Payments in rising order of time, seen from one side.

    Attributes:
        time_N: Seconds since 1970.
        entity_N: Whose profiles are learned: customers, unless `seen_from` has turned the table.
        counterparty_N: The other side.
        amount_minor_N: Hundredths of the currency unit, at least 0.
        fraud_N: The label; it may be used only `label_delay_s` after the payment.
        label_delay_s: How long a label takes to become known.
        side: What the entities are.
    """

    time_N: Longs
    entity_N: Longs
    counterparty_N: Longs
    amount_minor_N: Longs
    fraud_N: Bools
    label_delay_s: int = LABEL_DELAY_S
    side: Side = "customer"

    def __len__(self) -> int:
        """N."""
        return len(self.time_N)

    def seen_from(self, side: Side) -> Payments:
        """Return the same payments with customers or terminals as the entities."""
        if side == self.side:
            return self
        return replace(self, entity_N=self.counterparty_N, counterparty_N=self.entity_N, side=side)


def make_payments(
    *,
    time_N: Longs,
    customer_N: Longs,
    terminal_N: Longs,
    amount_N: Doubles,
    fraud_N: Bools,
    label_delay_s: int = LABEL_DELAY_S,
) -> Payments:
    """Return checked payments in order of time; ties keep the order given.

    Args:
        time_N: Whole seconds since 1970.
        customer_N: Ids, at least 0.
        terminal_N: Ids, at least 0.
        amount_N: In currency units; rounded to hundredths.
        fraud_N: Labels.
        label_delay_s: How long a label takes to become known.

    Raises:
        BadInputError: Columns of different length, no rows, an amount that is negative or not finite, a
            negative time or id, a negative delay; names the first such row.
    """
    columns = {"customer": customer_N, "terminal": terminal_N, "amount": amount_N, "fraud": fraud_N}
    for name, column in columns.items():
        if len(column) != len(time_N):
            raise BadInputError(
                field=f"column {name}",
                value=len(column),
                remedy=f"Give as many rows as times: {len(time_N)}.",
            )
    if len(time_N) == 0:
        raise BadInputError(field="payments", value="no rows", remedy="Give at least one payment.")
    if label_delay_s < 0:
        raise BadInputError(field="label_delay_s", value=label_delay_s, remedy="Give at least 0 seconds.")
    amounts = np.asarray(amount_N, dtype=np.float64)
    fits = (amounts >= 0) & (amounts < _MOST)
    _refuse("amount", amounts, ~fits, f"Give a finite amount of at least 0 and below {_MOST:.0e}.")
    for name, ids in (("time", time_N), ("customer", customer_N), ("terminal", terminal_N)):
        _refuse(name, ids, np.asarray(ids) < 0, "Give at least 0.")
    order = np.argsort(time_N, kind="stable")
    return Payments(
        time_N=np.asarray(time_N, dtype=np.int64)[order],
        entity_N=np.asarray(customer_N, dtype=np.int64)[order],
        counterparty_N=np.asarray(terminal_N, dtype=np.int64)[order],
        amount_minor_N=np.rint(amounts[order] * 100).astype(np.int64),
        fraud_N=np.asarray(fraud_N, dtype=np.bool_)[order],
        label_delay_s=label_delay_s,
    )


def read_payment_table(path: Path, *, label_delay_s: int = LABEL_DELAY_S) -> Payments:
    """Read a table with the Fraud Detection Handbook's columns from Parquet or CSV.

    Raises:
        BadInputError: No such file, a format or column that is missing, a value that cannot be.
    """
    if not path.is_file():
        raise BadInputError(field="payments file", value=path, remedy="Name a Parquet or CSV file.")
    try:
        frame = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise BadInputError(
            field="payments file", value=f"{path}: {error}", remedy="Give a Parquet or CSV table."
        ) from error
    missing = [name for name in _COLUMNS if name not in frame.columns]
    if missing:
        raise BadInputError(
            field="payments file", value=", ".join(missing), remedy=f"Give the columns {', '.join(_COLUMNS)}."
        )
    if frame.is_empty():
        raise BadInputError(field="payments file", value="no rows", remedy="Give at least one payment.")
    frame = frame.select(list(_COLUMNS)).rename(_COLUMNS)
    holes = [name for name in frame.columns if frame[name].null_count()]
    if holes:
        raise BadInputError(
            field=f"column {_named(holes[0])}", value="null", remedy="Fill or drop such rows first."
        )
    if not isinstance(frame.schema["time"], pl.Datetime):
        raise BadInputError(
            field="column TX_DATETIME", value=frame.schema["time"], remedy="Give dates with times."
        )
    for name, remedy in (
        ("customer", "Number the customers."),
        ("terminal", "Number the terminals."),
        ("amount", "Give amounts as numbers."),
        ("fraud", "Give 0 or 1."),
    ):
        dtype = frame.schema[name]
        whole = name in ("customer", "terminal")
        truth = name == "fraud" and dtype == pl.Boolean
        if not (dtype.is_integer() if whole else dtype.is_numeric() or truth):
            raise BadInputError(field=f"column {_named(name)}", value=dtype, remedy=remedy)
    labels = frame["fraud"].cast(pl.Float64).to_numpy()
    _refuse("TX_FRAUD", labels, ~np.isin(labels, (0, 1)), "Give 0 or 1.")
    return make_payments(
        time_N=frame["time"].dt.epoch("s").to_numpy(),
        customer_N=frame["customer"].to_numpy(),
        terminal_N=frame["terminal"].to_numpy(),
        amount_N=frame["amount"].to_numpy(),
        fraud_N=labels != 0,
        label_delay_s=label_delay_s,
    )


def _named(column: str) -> str:
    return next(name for name, short in _COLUMNS.items() if short == column)


def write_payments(payments: Payments, path: Path) -> None:
    """Write a customers' table in the columns that `read_payment_table` reads, Parquet or CSV by its suffix.

    Raises:
        StorageError: It cannot be written.
    """
    customers = payments.seen_from("customer")
    columns = (
        pl.from_epoch(pl.Series(customers.time_N), time_unit="s"),
        customers.entity_N,
        customers.counterparty_N,
        customers.amount_minor_N / 100,
        customers.fraud_N.astype(np.int64),
    )
    frame, file = pl.DataFrame(dict(zip(_COLUMNS, columns, strict=True))), BytesIO()
    frame.write_csv(file) if path.suffix == ".csv" else frame.write_parquet(file)
    write_atomic(path, file.getvalue())


def counterparty_context(payments: Payments) -> Doubles:
    """Return what was known of each payment's counterparty at its time, (N, C), from other entities alone.

    Counts and shares of fraud lie in windows that end `label_delay_s` before the payment, as labels
    take that long; the mean log amount lies in the 30 days before it. Payments at the same second are
    not visible. The entity's own payments are left out, so a profile never reads its own future labels.

    Source: Fraud Detection Handbook, chapter 3, section 4 (terminal risk, delay 7 days).
    """
    pairs = payments.counterparty_N * (payments.entity_N.max() + 1) + payments.entity_N
    everyone = _Index(payments.counterparty_N, payments)
    own = _Index(np.unique(pairs, return_inverse=True)[1], payments)
    delay = payments.label_delay_s

    def known(windows: tuple[int, ...]) -> list[Doubles]:
        counts: list[Doubles] = []
        risks: list[Doubles] = []
        for window in windows:
            count = everyone.total(everyone.ones, delay, window) - own.total(own.ones, delay, window)
            frauds = everyone.total(everyone.fraud, delay, window) - own.total(own.fraud, delay, window)
            counts.append(count.astype(np.float64))
            risks.append(_share(frauds, count))
        return [*counts, *risks]

    month = WINDOWS_S[-1]
    count = everyone.total(everyone.ones, 0, month) - own.total(own.ones, 0, month)
    logs = everyone.total(everyone.log_amount, 0, month) - own.total(own.log_amount, 0, month)
    usual = _share(logs, count) / _PER_UNIT
    return np.stack([*known(WINDOWS_S), usual, *known(BETWEEN_S)], axis=1)


class _Index:
    """Running sums per key, for windows that end some time before each payment.

    Args:
        key_N: Whose payments are summed together.
        payments: In order of time.
    """

    def __init__(self, key_N: Longs, payments: Payments) -> None:
        start = int(payments.time_N[0])
        # Longer than any window and delay, so that no window reaches into another key.
        self._stride = int(payments.time_N[-1]) - start + 2 * (WINDOWS_S[-1] + payments.label_delay_s) + 2
        index_N = key_N.astype(np.int64) * self._stride + (payments.time_N - start)
        order = np.argsort(index_N, kind="stable")
        self._order_N, self._sorted_N = order, index_N[order]
        self.ones = _running(np.ones(len(order)))
        self.fraud = _running(payments.fraud_N[order])
        self.log_amount = _running(np.log1p(payments.amount_minor_N[order] / 100) * _PER_UNIT)

    def total(self, sums: Longs, delay_s: int, window_s: int) -> Longs:
        """Return the sum over [t - delay - window, t - delay) for every payment, in the table's order."""
        # Sorted needles walk through the table once; in the table's own order each would miss the cache.
        last = np.searchsorted(self._sorted_N, self._sorted_N - delay_s, side="left")
        first = np.searchsorted(self._sorted_N, self._sorted_N - delay_s - window_s, side="left")
        summed = np.empty(len(self._order_N), dtype=np.int64)
        summed[self._order_N] = sums[last] - sums[first]
        return summed


def _running(values: NDArray[np.generic]) -> Longs:
    """Return running sums in whole numbers: a float's last bits would depend on payments still to come."""
    return np.concatenate([[0], np.cumsum(np.rint(values).astype(np.int64))])


def _share(part: Longs, whole: Longs) -> Doubles:
    return np.divide(part, whole, out=np.zeros(len(whole)), where=whole > 0)


def _refuse(name: str, values: NDArray[np.generic], wrong: Bools, remedy: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise BadInputError(field=f"{name}, row {row}", value=values[row], remedy=remedy)
