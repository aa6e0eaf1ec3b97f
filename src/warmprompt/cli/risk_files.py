"""Files of `warmprompt risk`: networks and balance sheets in, tables per link and per bank out."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from warmprompt.cli.risk_screen import Duplicates, Layout, Rows
from warmprompt.errors import BadInputError
from warmprompt.risk.network.edges import EDGE_COLUMNS, read_adjacency_csv, read_edges_csv, read_edges_parquet
from warmprompt.risk.network.graph import PaymentNetwork, transposed, with_nodes
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.network.payments import network_from_payments
from warmprompt.risk.settlement import Action, outage
from warmprompt.risk.settlement.payments import Doubles, Longs

if TYPE_CHECKING:
    from warmprompt.risk.contagion import Clearing
    from warmprompt.risk.settlement import DayResult


# Columns that name the two banks of a link, and which way such a row points where the names say it.
PAIRS: dict[tuple[str, str], Rows | None] = {
    EDGE_COLUMNS[:2]: None,
    ("lender", "borrower"): Rows.lend,
    ("debtor", "creditor"): Rows.owe,
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
    rows: Rows = Rows.owe
    notes: tuple[str, ...] = ()


def read_network(
    *files: Path,
    currency: str | None,
    layout: Layout = Layout.edges,
    rows: Rows | None = None,
    duplicates: Duplicates = Duplicates.refuse,
) -> NetworkTable:
    """Return the network of a .csv or .parquet file, or of the payments and returns of .xml messages.

    A matrix is CSV; its amounts are whole minor units where its corner cell is `amount_minor`.

    Raises:
        BadInputError: Another kind of file, or one that its reader refuses; `rows` against what columns say.
    """
    file, *others = files
    suffix = file.suffix.lower()
    if others and any(one.suffix.lower() != ".xml" for one in files):
        remedy = "Give one file, or several .xml messages."
        raise BadInputError(field="network files", value=", ".join(map(str, files)), remedy=remedy)
    if layout is Layout.adjacency:
        if suffix != ".csv":
            remedy = "A matrix is read from a .csv file."
            raise BadInputError(field="--layout", value=f"adjacency of {file}", remedy=remedy)
        corner = _first_line(file).partition(b",")[0].strip(b'" \t\r\xef\xbb\xbf')
        matrix = read_adjacency_csv(file, minor=corner == b"amount_minor", currency=currency)
        return _pointing(matrix, rows or Rows.owe)
    if suffix == ".xml":
        if rows is not None:
            remedy = "Leave it out; a message says who pays."
            raise BadInputError(field="--rows", value=f"{rows.value}, for {file}", remedy=remedy)
        payments = chain.from_iterable(map(read_payments, files))
        return NetworkTable(network=network_from_payments(payments, currency=currency or "USD"))
    if suffix not in (".csv", ".parquet"):
        raise BadInputError(field="network file", value=file, remedy="Give a .csv, .parquet or .xml file.")
    columns, unused, direction = _edge_columns(file, suffix, rows)
    read = read_edges_parquet if suffix == ".parquet" else read_edges_csv
    network = read(file, columns=columns, duplicates=duplicates.value, currency=currency)
    return _pointing(network, direction, _unused(file, unused))


def _pointing(network: PaymentNetwork, rows: Rows, notes: tuple[str, ...] = ()) -> NetworkTable:
    turned = transposed(network) if rows is Rows.lend else network
    return NetworkTable(network=turned, rows=rows, notes=notes)


def _edge_columns(file: Path, suffix: str, rows: Rows | None) -> tuple[tuple[str, str, str], list[str], Rows]:
    """Return the three columns of a link, those not used, and which way a row points."""
    names = _columns_of(file, suffix)
    pair = next((pair for pair in PAIRS if {*pair} <= {*names}), None)
    if pair is None:
        if not names:
            return EDGE_COLUMNS, [], rows or Rows.owe
        usual, others = ", ".join(EDGE_COLUMNS), "lender, borrower; debtor, creditor; source, target"
        remedy = f"Give columns {usual} (or {others}), or --layout adjacency for a matrix."
        raise BadInputError(field=f"columns of {file}", value=", ".join(names)[:80], remedy=remedy)
    meant = PAIRS[pair]
    if pair == ("source", "target") and rows is None:
        remedy = "Say --rows lend where source lends to target, or --rows owe where it owes it."
        raise BadInputError(field=f"columns of {file}", value="source, target", remedy=remedy)
    if None not in (meant, rows) and meant is not rows:
        remedy = f"Leave --rows out; these columns say {meant}."
        raise BadInputError(field="--rows", value=f"{rows}, for columns {', '.join(pair)}", remedy=remedy)
    amount = next((name for name in AMOUNTS if name in names), AMOUNTS[0])
    unused = [name for name in names if name not in (*pair, amount)]
    return (*pair, amount), unused, rows or meant or Rows.owe


def _columns_of(file: Path, suffix: str) -> list[str]:
    """Return the columns of a table, none where it cannot be read: its reader says why."""
    try:
        if suffix == ".parquet":
            return list(pl.read_parquet_schema(file))
        return pl.read_csv(io.BytesIO(_first_line(file)), infer_schema=False).columns
    except (pl.exceptions.PolarsError, OSError):
        return []


def _unused(file: Path, columns: Sequence[str]) -> tuple[str, ...]:
    return (f"columns of {file} that are not used: {', '.join(columns)}",) if columns else ()


def _first_line(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as lines:
        return lines.readline(1 << 20)


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


def read_sheet(
    path: Path, given: NetworkTable, columns: Mapping[str, SheetColumn], field: str = "--assets"
) -> tuple[NetworkTable, dict[str, Doubles]]:
    """Return the network with every bank of a balance sheet, and the sheet's columns in its order.

    Banks of the sheet without a link are participants, too. Notes say who has no link, who no row, which
    columns are not used, and which one is the sum of a bank's claims or debts within the network.

    Raises:
        BadInputError: The file is missing, no CSV, lacks a column, names a bank twice, or holds no number.
        UnknownNameError: None of its banks is in the network.
    """
    table = _sheet_table(path, columns, field)
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
    notes = [*given.notes, *_unused(path, others)]
    if alone:
        notes.append(f"{len(alone)} of the banks of {path} have no link: {_named(alone)}")
    if missing:
        notes.append(f"{len(missing)} banks have no row in {path} and nothing there: {_named(missing)}")
    notes += _sum_notes(table, network, rows, given.rows)
    return NetworkTable(network=network, rows=given.rows, notes=tuple(notes)), found


def _sheet_table(path: Path, columns: Mapping[str, SheetColumn], field: str) -> pl.DataFrame:
    if not path.is_file():
        raise BadInputError(field=field, value=path, remedy="Name a file that exists.")
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(field=f"{field} {path}", value=reason, remedy="Give a CSV file.") from error
    needed = ["bank", *(name for name, column in columns.items() if column.needed)]
    if not {*needed} <= {*table.columns}:
        optional = ", ".join(name for name in columns if name not in needed)
        remedy = f"Give columns {', '.join(needed)} and, if any, {optional}."
        raise BadInputError(field=f"{field} {path}", value=table.columns, remedy=remedy)
    if table.is_empty():
        raise BadInputError(field=f"{field} {path}", value="no row", remedy="Give a row per bank.")
    return table


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


def _sum_notes(table: pl.DataFrame, network: PaymentNetwork, rows: Longs, pointing: Rows) -> list[str]:
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
            other = Rows.owe if pointing is Rows.lend else Rows.lend
            note = f"column {name} is what each bank owes the others"
            turn = f"; if these are its interbank assets, rows {other.value}: --rows {other.value}"
            notes.append(note + (turn if "asset" in name.lower() else ""))
    return notes


def _named(banks: Sequence[str]) -> str:
    return ", ".join(banks[:_SHOWN]) + (" ..." if len(banks) > _SHOWN else "")


def read_outage(text: str, nodes: tuple[str, ...]) -> tuple[Action, ...]:
    """Return the outage of "BANK@START+LENGTH", seconds.

    Raises:
        BadInputError: Written otherwise, an unknown bank, or no length.
    """
    parts = re.fullmatch(r"(.+)@(\d+(?:\.\d+)?)\+(\d+(?:\.\d+)?)", text)
    if not parts or parts[1] not in nodes:
        remedy = f"Write BANK@START+LENGTH; banks are {nodes[0]} to {nodes[-1]}."
        raise BadInputError(field="--outage", value=text, remedy=remedy)
    start_s = float(parts[2])
    return outage(bank=nodes.index(parts[1]), start_s=start_s, end_s=start_s + float(parts[3]))


def edges_csv(network: PaymentNetwork) -> bytes:
    """Return a row per link, as `risk clear` reads it."""
    payers, payees, amounts = network.edges()
    whole = amounts.dtype.kind == "i"
    names = [network.nodes[position] for position in payers], [network.nodes[position] for position in payees]
    columns = {"payer": names[0], "payee": names[1], "amount_minor" if whole else "amount": amounts}
    return _csv(columns)


def clearing_csv(network: PaymentNetwork, cleared: Clearing) -> bytes:
    """Return a row per bank."""
    names = ("payments", "received", "shortfall", "equity", "lost", "defaulted", "round")
    return _csv({"bank": list(network.nodes)} | {name: getattr(cleared, f"{name}_N") for name in names})


def day_csv(nodes: tuple[str, ...], result: DayResult) -> bytes:
    """Return a row per bank."""
    table, num = result.payments, len(nodes)
    never = ~result.is_settled
    columns = {
        "bank": list(nodes),
        "num_due": np.bincount(table.sender, minlength=num),
        "num_unsettled": np.bincount(table.sender[never], minlength=num),
        "closing_minor": result.closing_minor,
        "used_minor": result.used_minor,
    }
    return _csv(columns)


def _csv(columns: dict[str, Any]) -> bytes:
    text = io.BytesIO()
    pl.DataFrame(columns).write_csv(text)
    return text.getvalue()
