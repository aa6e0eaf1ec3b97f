"""Files of `warmprompt risk`: networks and balance sheets in, tables per link and per bank out."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from glob import glob
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from warmprompt.cli.risk_screen import Duplicates, Layout, Rows
from warmprompt.errors import BadInputError
from warmprompt.risk.network.edges import numbers, read_adjacency_csv, read_edges_csv, read_edges_parquet
from warmprompt.risk.network.graph import PaymentNetwork
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.network.payments import network_from_payments
from warmprompt.risk.network.tables import (
    Doubles,
    NetworkTable,
    SheetColumn,
    edge_columns,
    pointing,
    unused_note,
    with_sheet,
)
from warmprompt.risk.network.totals import Method, network_from_totals
from warmprompt.risk.settlement import Action, OwnDay, day_from_messages, day_from_table, outage

if TYPE_CHECKING:
    from warmprompt.risk.contagion import Clearing
    from warmprompt.risk.settlement import DayResult


_TOTALS = ("debts", "liabilities"), ("claims", "assets")


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
        return pointing(matrix, (rows or Rows.owe).value)
    if suffix == ".xml":
        if rows is not None:
            remedy = "Leave it out; a message says who pays."
            raise BadInputError(field="--rows", value=f"{rows.value}, for {file}", remedy=remedy)
        payments = chain.from_iterable(map(read_payments, files))
        return NetworkTable(network=network_from_payments(payments, currency=currency or "USD"))
    if suffix not in (".csv", ".parquet"):
        raise BadInputError(field="network file", value=file, remedy="Give a .csv, .parquet or .xml file.")
    named = _columns_of(file, suffix)
    columns, unused, direction = edge_columns(named, file, rows.value if rows else None)
    read = read_edges_parquet if suffix == ".parquet" else read_edges_csv
    network = read(file, columns=columns, duplicates=duplicates.value, currency=currency)
    return pointing(network, direction, unused_note(file, unused))


def expanded(files: Sequence[Path]) -> list[Path]:
    """Return files, with each folder as the .xml files in it and below, and each glob as what it matches.

    Raises:
        BadInputError: A folder holds no .xml file, or a glob matches none.
    """
    found: list[Path] = []
    for file in files:
        if file.is_dir():
            inside = sorted(one for one in file.rglob("*") if one.suffix.lower() == ".xml" and one.is_file())
        elif set("*?[") & set(str(file)) and not file.exists():
            inside = sorted(one for one in map(Path, glob(str(file), recursive=True)) if one.is_file())  # noqa: PTH207
        else:
            inside = [file]
        if not inside:
            remedy = "Name a folder with .xml messages, or a pattern that matches files."
            raise BadInputError(field="network files", value=f"{file}: no file", remedy=remedy)
        found += inside
    return found


def read_day(text: str, currency: str, nodes: Sequence[str]) -> OwnDay:
    """Return the day of payments of a .csv or .parquet table, a message, a folder or a glob of messages.

    Raises:
        BadInputError: No such file, or as `day_from_table` and `day_from_messages`.
    """
    files = expanded([Path(text)])
    if all(file.suffix.lower() == ".xml" for file in files):
        payments = chain.from_iterable(map(read_payments, files))
        return day_from_messages(payments, currency=currency, nodes=nodes)
    if len(files) > 1:
        remedy = "Give one table, or messages (.xml) alone."
        raise BadInputError(field="--payments", value=text, remedy=remedy)
    return day_from_table(read_table(files[0], "--payments"), text, currency=currency, nodes=nodes)


def _columns_of(file: Path, suffix: str) -> list[str]:
    """Return the columns of a table, none where it cannot be read: its reader says why."""
    try:
        if suffix == ".parquet":
            return list(pl.read_parquet_schema(file))
        return pl.read_csv(io.BytesIO(_first_line(file)), infer_schema=False).columns
    except (pl.exceptions.PolarsError, OSError):
        return []


def _first_line(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as lines:
        return lines.readline(1 << 20)


def read_sheet(
    path: Path, given: NetworkTable, columns: Mapping[str, SheetColumn], field: str = "--assets"
) -> tuple[NetworkTable, dict[str, Doubles]]:
    """Return the network with every bank of a balance sheet in CSV or Parquet; see `with_sheet`.

    Raises:
        BadInputError: The file is missing or no table, or as in `with_sheet`.
        UnknownNameError: None of its banks is in the network.
    """
    table = read_table(path, field)
    return with_sheet(table, given, columns, called=str(path), field=f"{field} {path}")


def read_totals(files: Sequence[Path], method: Method, seed: int, currency: str | None) -> PaymentNetwork:
    """Return a network with the totals of a table: bank, debts and claims (or liabilities, assets).

    Raises:
        BadInputError: Not one table, it lacks a column or holds no number, or no network has these totals.
    """
    if len(files) != 1:
        value = ", ".join(map(str, files)) or "no file"
        raise BadInputError(field="--totals", value=value, remedy="Give one table.")
    field = f"--totals {files[0]}"
    table = read_table(files[0], "--totals")
    names = [next((name for name in pair if name in table.columns), pair[0]) for pair in _TOTALS]
    if not {"bank", *names} <= {*table.columns}:
        remedy = "Give columns bank, debts and claims (or liabilities and assets)."
        raise BadInputError(field=field, value=", ".join(table.columns), remedy=remedy)
    banks = table["bank"].cast(pl.String).to_list()
    sides = [numbers(table[name], whole=False, field=f"{field}, column {name!r}") for name in names]
    return network_from_totals(banks, *sides, method=method, seed=seed, currency=currency)


def read_table(path: Path, field: str) -> pl.DataFrame:
    """Return a CSV file, all of it as text, or a Parquet file.

    Raises:
        BadInputError: The file is missing or is none of the two.
    """
    if not path.is_file():
        raise BadInputError(field=field, value=path, remedy="Name a file that exists.")
    parquet = path.suffix.lower() == ".parquet"
    try:
        return pl.read_parquet(path) if parquet else pl.read_csv(path, infer_schema=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = str(error).splitlines()[0]
        remedy = f"Give a {'Parquet' if parquet else 'CSV'} file."
        raise BadInputError(field=f"{field} {path}", value=reason, remedy=remedy) from error


def keyed_numbers(path: Path, field: str, key: str, names: Sequence[str], order: Sequence[str]) -> Doubles:
    """Return a column of a table, under the first of its names that is there, in the order of its keys.

    Raises:
        BadInputError: The table or a column is missing, a key is missing or comes twice, a cell is no number.
    """
    table = read_table(path, field)
    name = next((name for name in names if name in table.columns), None)
    if name is None or key not in table.columns:
        remedy = f"Give columns {key} and {' or '.join(names)}."
        raise BadInputError(field=f"{field} {path}", value=", ".join(table.columns), remedy=remedy)
    keys = table[key].cast(pl.String).to_list()
    values = dict(zip(keys, numbers(table[name], whole=False, field=f"{field} {path}, {name}"), strict=True))
    missing = [one for one in order if one not in values]
    if missing or len(values) != len(keys):
        wrong = missing[0] if missing else next(one for one in keys if keys.count(one) > 1)
        raise BadInputError(field=f"{key} of {path}", value=wrong, remedy="Give each of them one row.")
    return np.array([values[one] for one in order])


def read_share(text: str, option: str, remedy: str) -> float:
    """Return a share written as 0.3 or 30%.

    Raises:
        BadInputError: It is none from 0 to 1; `option` is what the error shows.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise BadInputError(field="--shock", value=option, remedy=remedy)
    return share


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
