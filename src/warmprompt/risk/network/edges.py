"""Networks from tables: one row per link (CSV, Parquet) or one row per payer (CSV adjacency).

Rules of all three:
- A column of amounts whose name ends in "_minor" holds whole minor units and is read exactly; any
  other holds floats.
- The first row that is wrong refuses the file and is named. Nothing is repaired or left out.
- Rows are counted from 1, without the header.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.risk.network.graph import (
    Duplicates,
    PaymentNetwork,
    network_from_edges,
    network_from_matrix,
)

EDGE_COLUMNS = ("payer", "payee", "amount_minor")


def read_edges_csv(
    path: Path,
    *,
    columns: tuple[str, str, str] = EDGE_COLUMNS,
    nodes: Sequence[str] | None = None,
    duplicates: Duplicates = "refuse",
    currency: str | None = None,
) -> PaymentNetwork:
    """Read a CSV file with a header and one row per link; further columns are not looked at.

    Args:
        path: The file, UTF-8, commas between fields.
        columns: Names of the columns of payer, payee and amount.
        nodes: The participants allowed and their order; None takes those of the file, sorted.
        duplicates: Whether a link may come again ("sum") or not ("refuse").
        currency: ISO 4217 code of the amounts.

    Raises:
        BadInputError: The file is missing, empty, no CSV, lacks a column, or holds a wrong row; see
            `network_from_edges` for what is wrong.
        UnknownNameError: A link names somebody who is not among `nodes`.
    """
    return network_from_table(
        _csv(path), str(path), columns=columns, nodes=nodes, duplicates=duplicates, currency=currency
    )


def read_edges_parquet(
    path: Path,
    *,
    columns: tuple[str, str, str] = EDGE_COLUMNS,
    nodes: Sequence[str] | None = None,
    duplicates: Duplicates = "refuse",
    currency: str | None = None,
) -> PaymentNetwork:
    """Read a Parquet file with one row per link; ids may be text or integers. Else as `read_edges_csv`."""
    try:
        table = pl.read_parquet(_file(path))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _unreadable(path, error, "Parquet") from error
    return network_from_table(
        table, str(path), columns=columns, nodes=nodes, duplicates=duplicates, currency=currency
    )


def read_adjacency_csv(path: Path, *, minor: bool = False, currency: str | None = None) -> PaymentNetwork:
    """Read a CSV matrix: a header of payees, then per payer its id and its amounts.

    The corner cell is not looked at. An empty cell or a zero is no link. The rows name the same
    participants as the header, in any order; the header's order is kept.

    Args:
        path: The file, UTF-8, commas between fields.
        minor: Whether amounts are whole minor units; floats otherwise.
        currency: ISO 4217 code of the amounts.

    Raises:
        BadInputError: As in `read_edges_csv`, or rows and columns are not the same participants.
    """
    text = _bytes(path)
    table = _parsed(text, path, header=False)
    nodes = [str(cell or "") for cell in table.row(0)[1:]]
    rows = table.slice(1)
    payers = rows.to_series(0).fill_null("").to_list()
    if len(set(payers)) != len(payers) or set(payers) != set(nodes):
        odd = sorted(set(payers) ^ set(nodes))[:3] or "an id comes twice"
        remedy = "Name the same participants in the header and in the first column, each once."
        raise BadInputError(field=f"rows and columns of {path}", value=odd, remedy=remedy)
    cells = rows.select(rows.columns[1:])
    values = np.zeros((len(nodes), len(nodes)), dtype=np.int64 if minor else np.float64)
    index = {node: row for row, node in enumerate(nodes)}
    order = [index[payer] for payer in payers]
    for column, name in enumerate(cells.columns):
        texts = cells[name].fill_null("0").replace("", "0")
        values[order, column] = numbers(texts, whole=minor, field=f"{path}, column {nodes[column]!r}")
    return network_from_matrix(values, nodes=nodes, currency=currency)


def network_from_table(
    table: pl.DataFrame,
    called: str,
    *,
    columns: tuple[str, str, str] = EDGE_COLUMNS,
    nodes: Sequence[str] | None = None,
    duplicates: Duplicates = "refuse",
    currency: str | None = None,
) -> PaymentNetwork:
    """Return the network of a table with one row per link; ids may be text or integers.

    `called` is the table's name in errors; the other arguments and the errors are those of `read_edges_csv`.
    """
    for name in columns:
        if name not in table.columns:
            remedy = f"Name columns that are there: {', '.join(table.columns)}."
            raise BadInputError(field=f"column of {called}", value=name, remedy=remedy)
    if table.is_empty():
        raise BadInputError(field=called, value="no row", remedy="Give a file with at least one link.")
    payer, payee, amount = (table[name] for name in columns)
    amounts = numbers(amount, whole=columns[2].endswith("_minor"), field=f"{called}, column {columns[2]!r}")
    return network_from_edges(
        _ids(payer, called),
        _ids(payee, called),
        amounts,
        nodes=nodes,
        duplicates=duplicates,
        currency=currency,
    )


def _ids(column: pl.Series, called: str) -> list[str]:
    if not (column.dtype == pl.String or column.dtype.is_integer()):
        remedy = "Give ids as text or integers."
        raise BadInputError(field=f"{called}, column {column.name!r}", value=column.dtype, remedy=remedy)
    texts = column.cast(pl.String)
    blank = texts.fill_null("").str.strip_chars() == ""
    if blank.any():
        row = blank.arg_max() or 0
        raise BadInputError(
            field=f"{called}, column {column.name!r}, row {row + 1}", value="", remedy="Name the participant."
        )
    return texts.to_list()


def numbers(column: pl.Series, *, whole: bool, field: str) -> np.ndarray:
    """Return a column as int64 or float64.

    Raises:
        BadInputError: A cell is not exactly that; names the first.
    """
    texts = column.cast(pl.String)
    if whole:
        # A cast alone would cut "1.5" or a float column's fractions.
        exact = texts.str.strip_chars().str.extract(r"^([+-]?\d+)(?:\.0+)?$")
        numbers = exact.cast(pl.Int64, strict=False)
    else:
        numbers = texts.str.strip_chars().cast(pl.Float64, strict=False)
    wrong = numbers.is_null()
    if wrong.any():
        row = wrong.arg_max() or 0
        wanted = "Give whole minor units of at most 64 bits." if whole else "Give a number."
        raise BadInputError(field=f"{field}, row {row + 1}", value=texts[row], remedy=wanted)
    return numbers.to_numpy()


def _csv(path: Path) -> pl.DataFrame:
    return _parsed(_bytes(path), path, header=True)


def _parsed(text: bytes, path: Path, *, header: bool) -> pl.DataFrame:
    try:
        # Everything is text first, so that no guess at a type can round an amount or an id.
        return pl.read_csv(io.BytesIO(text), has_header=header, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        raise _unreadable(path, error, "CSV") from error


def _bytes(path: Path) -> bytes:
    text = _file(path).read_bytes()
    if not text.strip():
        raise BadInputError(field=str(path), value="empty", remedy="Give a file with at least one link.")
    return text


def _file(path: Path) -> Path:
    if not path.is_file():
        raise BadInputError(field="network file", value=path, remedy="Name a file that exists.")
    return path


def _unreadable(path: Path, error: Exception, kind: str) -> BadInputError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return BadInputError(field=f"{kind} file {path}", value=reason, remedy=f"Give a {kind} file.")
