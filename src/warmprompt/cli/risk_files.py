"""Files of `warmprompt risk`: networks and balance sheets in, tables per link and per bank out."""

from __future__ import annotations

import io
import math
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from warmprompt.cli.risk_screen import Duplicates, Layout
from warmprompt.errors import BadInputError
from warmprompt.risk.network.edges import EDGE_COLUMNS, read_adjacency_csv, read_edges_csv, read_edges_parquet
from warmprompt.risk.network.graph import PaymentNetwork
from warmprompt.risk.network.iso20022 import read_payments
from warmprompt.risk.network.payments import network_from_payments
from warmprompt.risk.settlement import Action, outage
from warmprompt.risk.settlement.payments import Doubles

if TYPE_CHECKING:
    from warmprompt.risk.contagion import Clearing
    from warmprompt.risk.settlement import DayResult


def read_network(
    *files: Path,
    currency: str | None,
    layout: Layout = Layout.edges,
    duplicates: Duplicates = Duplicates.refuse,
) -> PaymentNetwork:
    """Return the network of a .csv or .parquet file, or of the payments and returns of .xml messages.

    A matrix is CSV; its amounts are whole minor units where its corner cell is `amount_minor`.

    Raises:
        BadInputError: Another kind of file, or one that its reader refuses.
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
        return read_adjacency_csv(file, minor=corner == b"amount_minor", currency=currency)
    if suffix == ".xml":
        payments = chain.from_iterable(map(read_payments, files))
        return network_from_payments(payments, currency=currency or "USD")
    if suffix == ".parquet":
        return read_edges_parquet(file, duplicates=duplicates.value, currency=currency)
    if suffix != ".csv":
        raise BadInputError(field="network file", value=file, remedy="Give a .csv, .parquet or .xml file.")
    header = _first_line(file)
    if header and b"payer" not in header and header.count(b",") > 1:
        remedy = f"Give columns {', '.join(EDGE_COLUMNS)}, or --layout adjacency for a matrix."
        raise BadInputError(
            field=f"columns of {file}", value=header[:80].decode(errors="replace"), remedy=remedy
        )
    named = b"amount_minor" in header or b"amount" not in header
    columns = EDGE_COLUMNS if named else (*EDGE_COLUMNS[:2], "amount")
    return read_edges_csv(file, columns=columns, duplicates=duplicates.value, currency=currency)


def _first_line(file: Path) -> bytes:
    if not file.is_file():
        return b""
    with file.open("rb") as lines:
        return lines.readline(1 << 20)


def read_assets(path: Path, network: PaymentNetwork) -> tuple[Doubles, Doubles]:
    """Return outside assets and obligations to outside of each bank; banks left out have none.

    Raises:
        BadInputError: The file is missing, no CSV, lacks a column, names a bank twice, or holds no number.
        UnknownNameError: A bank is not in the network.
    """
    if not path.is_file():
        raise BadInputError(field="--assets", value=path, remedy="Name a file that exists.")
    try:
        table = pl.read_csv(path, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(field=f"--assets {path}", value=reason, remedy="Give a CSV file.") from error
    if not {"bank", "assets"} <= set(table.columns):
        remedy = "Give columns bank, assets and, if any, to_outside."
        raise BadInputError(field=f"--assets {path}", value=table.columns, remedy=remedy)
    found = {name: np.zeros(network.num_nodes) for name in ("assets", "to_outside")}
    seen: set[str] = set()
    for row, line in enumerate(table.iter_rows(named=True), start=1):
        position = network.index_of(line["bank"] or "")
        if line["bank"] in seen:
            raise BadInputError(field=f"bank, row {row}", value=line["bank"], remedy="Name each bank once.")
        seen.add(line["bank"])
        for name, values in found.items():
            try:
                value = float(line.get(name) or 0)
            except ValueError:
                value = math.nan
            if not 0 <= value < math.inf:
                field = f"{name} of {line['bank']}, row {row}"
                remedy = "Give a finite number of at least 0."
                raise BadInputError(field=field, value=line[name], remedy=remedy)
            values[position] = value
    return found["assets"], found["to_outside"]


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
