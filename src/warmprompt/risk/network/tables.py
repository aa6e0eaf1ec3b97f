"""Tables of links and of balance sheets, from files or data frames: a network and columns in its order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.errors import BadInputError
from warmprompt.risk.network.edges import EDGE_COLUMNS
from warmprompt.risk.network.graph import PaymentNetwork, transposed, with_nodes

Doubles = NDArray[np.float64]
Longs = NDArray[np.int64]
# What the first bank of a row does: owe (pay) the other, or lend to it.
Direction = Literal["owe", "lend"]

# Columns that name the two banks of a link, and which way such a row points where the names say it.
PAIRS: dict[tuple[str, str], Direction | None] = {
    EDGE_COLUMNS[:2]: None,
    ("lender", "borrower"): "lend",
    ("debtor", "creditor"): "owe",
    ("source", "target"): None,
}
AMOUNTS = (EDGE_COLUMNS[2], "amount", "weight")
_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class NetworkTable:
    """A network with what its reader should know.

    Attributes:
        network: Rows owe (pay) columns, whichever way the rows of the file point.
        rows: Which way these do.
        notes: What of the files was not used, and what looks odd.
    """

    network: PaymentNetwork
    rows: Direction = "owe"
    notes: tuple[str, ...] = ()


def pointing(network: PaymentNetwork, rows: Direction, notes: tuple[str, ...] = ()) -> NetworkTable:
    """Return the network with rows that owe columns, from one whose rows point as `rows` says."""
    turned = transposed(network) if rows == "lend" else network
    return NetworkTable(network=turned, rows=rows, notes=notes)


def edge_columns(
    names: Sequence[str], called: object, rows: Direction | None
) -> tuple[tuple[str, str, str], list[str], Direction]:
    """Return the three columns of a link, those not used, and which way a row points.

    Raises:
        BadInputError: There are none, they do not say which way a row points, or `rows` says otherwise.
    """
    pair = next((pair for pair in PAIRS if {*pair} <= {*names}), None)
    if pair is None:
        if not names:
            return EDGE_COLUMNS, [], rows or "owe"
        usual, others = ", ".join(EDGE_COLUMNS), "lender, borrower; debtor, creditor; source, target"
        remedy = f"Give columns {usual} (or {others}), or --layout adjacency for a matrix."
        raise BadInputError(field=f"columns of {called}", value=", ".join(names)[:80], remedy=remedy)
    meant = PAIRS[pair]
    if pair == ("source", "target") and rows is None:
        remedy = "Say --rows lend where source lends to target, or --rows owe where it owes it."
        raise BadInputError(field=f"columns of {called}", value="source, target", remedy=remedy)
    if None not in (meant, rows) and meant is not rows:
        remedy = f"Leave --rows out; these columns say {meant}."
        raise BadInputError(field="--rows", value=f"{rows}, for columns {', '.join(pair)}", remedy=remedy)
    amount = next((name for name in AMOUNTS if name in names), AMOUNTS[0])
    unused = [name for name in names if name not in (*pair, amount)]
    return (*pair, amount), unused, rows or meant or "owe"


def unused_note(file: object, columns: Sequence[str]) -> tuple[str, ...]:
    """Return a note on columns that are not used, if there are any."""
    return (f"columns of {file} that are not used: {', '.join(columns)}",) if columns else ()


@dataclass(frozen=True, kw_only=True)
class SheetColumn:
    """A column of numbers in a balance sheet.

    Attributes:
        needed: Whether it must be there.
        default: For an empty cell, and for a bank without a row.
        lowest: Smallest value.
        highest: Largest value.
    """

    needed: bool = False
    default: float = 0.0
    lowest: float = 0.0
    highest: float = math.inf


def with_sheet(
    table: pl.DataFrame, given: NetworkTable, columns: Mapping[str, SheetColumn], *, called: str, field: str
) -> tuple[NetworkTable, dict[str, Doubles]]:
    """Return the network with every bank of a balance sheet, and the sheet's columns in its order.

    Banks of the sheet without a link are participants, too. Notes say who has no link, who no row, which
    columns are not used, and which one is the sum of a bank's claims or debts within the network.

    Args:
        table: A row per bank: `bank`, and what `columns` name; all of it may be text.
        given: The network.
        columns: What is read.
        called: The table's name in notes.
        field: Its name in errors.

    Raises:
        BadInputError: It lacks a column, names a bank twice, or holds no number.
        UnknownNameError: None of its banks is in the network.
    """
    _check_sheet(table, columns, field)
    table = table.with_columns(pl.all().cast(pl.String))
    banks = [bank or "" for bank in table["bank"]]
    network = given.network
    if not any(bank in network.index for bank in banks):
        network.index_of(banks[0])
    alone = [bank for bank in dict.fromkeys(banks) if bank not in network.index]
    network = with_nodes(network, alone)
    rows = _sheet_rows(banks, network)
    found = {
        name: _sheet_values(table, name, column, banks, network.num_nodes, rows)
        for name, column in columns.items()
        if name in table.columns
    }
    missing = sorted(set(network.nodes) - set(banks))
    others = [name for name in table.columns if name not in ("bank", *columns)]
    notes = [*given.notes, *unused_note(called, others)]
    if alone:
        notes.append(f"{len(alone)} of the banks of {called} have no link: {_named(alone)}")
    if missing:
        notes.append(f"{len(missing)} banks have no row in {called} and nothing there: {_named(missing)}")
    notes += _sum_notes(table, network, rows, given.rows)
    return NetworkTable(network=network, rows=given.rows, notes=tuple(notes)), found


def _check_sheet(table: pl.DataFrame, columns: Mapping[str, SheetColumn], field: str) -> None:
    needed = ["bank", *(name for name, column in columns.items() if column.needed)]
    if not {*needed} <= {*table.columns}:
        optional = ", ".join(name for name in columns if name not in needed)
        remedy = f"Give columns {', '.join(needed)} and, if any, {optional}."
        raise BadInputError(field=field, value=table.columns, remedy=remedy)
    if table.is_empty():
        raise BadInputError(field=field, value="no row", remedy="Give a row per bank.")


def _sheet_rows(banks: list[str], network: PaymentNetwork) -> Longs:
    seen: set[str] = set()
    for row, bank in enumerate(banks, start=1):
        if bank in seen:
            raise BadInputError(field=f"bank, row {row}", value=bank, remedy="Name each bank once.")
        seen.add(bank)
    return np.array([network.index_of(bank) for bank in banks], dtype=np.int64)


def _sheet_values(
    table: pl.DataFrame, name: str, column: SheetColumn, banks: list[str], num_banks: int, rows: Longs
) -> Doubles:
    values_N = np.full(num_banks, column.default)
    for row, (bank, text) in enumerate(zip(banks, table[name], strict=True), start=1):
        value = _float(text, column.default)
        if not (math.isfinite(value) and column.lowest <= value <= column.highest):
            lowest = "" if math.isinf(column.lowest) else f" of at least {column.lowest:g}"
            limit = lowest if math.isinf(column.highest) else f" from {column.lowest:g} to {column.highest:g}"
            remedy = f"Give a finite number{limit}."
            raise BadInputError(field=f"{name} of {bank}, row {row}", value=text, remedy=remedy)
        values_N[rows[row - 1]] = value
    return values_N


def _float(text: str | None, default: float) -> float:
    try:
        return float(text) if text and text.strip() else default
    except ValueError:
        return math.nan


def _sum_notes(table: pl.DataFrame, network: PaymentNetwork, rows: Longs, pointing: Direction) -> list[str]:
    """Return a note on each column that repeats what banks are owed, or owe, in the network."""
    claims, debts = network.incoming[rows].astype(float), network.outgoing[rows].astype(float)
    notes = []
    for name in table.columns:
        if name in ("bank", "to_outside"):
            continue
        values = np.array([_float(text, 0.0) for text in table[name]])
        if np.count_nonzero(values) > 1 and np.allclose(values, claims, rtol=1e-6, atol=0.0):
            note = "what each bank is owed by the others: interbank assets, no outside assets"
            notes.append(f"column {name} is {note}" + (", and counts twice" if name == "assets" else ""))
        elif np.count_nonzero(values) > 1 and np.allclose(values, debts, rtol=1e-6, atol=0.0):
            other = "owe" if pointing == "lend" else "lend"
            note = f"column {name} is what each bank owes the others"
            turn = f"; if these are its interbank assets, rows {other}: --rows {other}"
            notes.append(note + (turn if "asset" in name.lower() else ""))
    return notes


def _named(banks: Sequence[str]) -> str:
    return ", ".join(banks[:_SHOWN]) + (" ..." if len(banks) > _SHOWN else "")
