"""What a stress test knows of each bank: who owes whom, capital, outside assets, recovery. N is banks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from warmprompt.errors import BadInputError
from warmprompt.risk.contagion.checks import Doubles
from warmprompt.risk.network.edges import network_from_table
from warmprompt.risk.network.graph import Duplicates, PaymentNetwork
from warmprompt.risk.network.tables import (
    Direction,
    NetworkTable,
    SheetColumn,
    edge_columns,
    pointing,
    unused_note,
    with_sheet,
)

_BLANK = float("nan")
SHEET = {
    "capital": SheetColumn(default=_BLANK, lowest=-np.inf),
    "assets": SheetColumn(default=_BLANK),
    "to_outside": SheetColumn(),
    "alpha": SheetColumn(default=_BLANK, highest=1.0),
    "beta": SheetColumn(default=_BLANK, highest=1.0),
    "loss_given_default": SheetColumn(default=_BLANK, highest=1.0),
}
_RATES: tuple[str, ...] = ("alpha", "beta", "loss_given_default")
# Balance sheets that miss by no more than this share of the larger side are taken to agree.
_AGREE = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Books:
    """A network with balance sheets; amounts in the unit of the tables.

    Attributes:
        network: Rows owe columns.
        capital_N: Each bank's capital; at or below 0 where it has failed before anything happens.
        assets_N: Assets outside the network, at least 0.
        outside_N: Debts outside the network, at least 0.
        rates: Recovery rates and losses given default by bank, where the sheet has such columns.
        notes: What of the tables was not used, what was derived, and what looks odd.
    """

    network: PaymentNetwork
    capital_N: Doubles
    assets_N: Doubles
    outside_N: Doubles
    rates: Mapping[str, Doubles]
    notes: tuple[str, ...] = ()


def books_from_tables(
    edges: Any,
    balance: Any,
    *,
    rows: Direction | None = None,
    duplicates: Duplicates = "refuse",
    currency: str | None = None,
) -> Books:
    """Return the books of two data frames of polars or pandas.

    Args:
        edges: A row per link: payer and payee (or lender and borrower; debtor and creditor; source and target
            with `rows`) and amount_minor, amount or weight.
        balance: A row per bank: `bank`, `capital` or `assets` or both, and, if any, `to_outside`, `alpha`,
            `beta`, `loss_given_default`.
        rows: What the first bank of a link does, where its columns do not say so: owe the other, or lend.
        duplicates: Whether a link may come again ("sum") or not ("refuse").
        currency: ISO 4217 code of the amounts.

    Raises:
        BadInputError: A table lacks a column or holds a wrong row, or balance sheets do not add up.
        UnknownNameError: No bank of the sheet is in the network.
    """
    links = _frame(edges, "edges")
    columns, unused, direction = edge_columns(links.columns, "edges", rows)
    network = network_from_table(links, "edges", columns=columns, duplicates=duplicates, currency=currency)
    given = pointing(network, direction, unused_note("edges", unused))
    return books_of(given, _frame(balance, "balance"), called="balance", field="balance")


def books_of(given: NetworkTable, sheet: pl.DataFrame, *, called: str, field: str) -> Books:
    """Return a network's books from a balance sheet; errors as in `books_from_tables`.

    What is missing follows from capital = outside assets + claims - debts - outside debts. Where only capital
    is known, the outside position is taken net: assets, or debts.
    """
    if "equity" in sheet.columns and "capital" not in sheet.columns:
        sheet = sheet.rename({"equity": "capital"})
    if not {"capital", "assets"} & {*sheet.columns}:
        remedy = "Give columns bank and capital, or bank and assets, or all three."
        raise BadInputError(field=field, value=", ".join(sheet.columns)[:80], remedy=remedy)
    given, found = with_sheet(sheet, given, SHEET, called=called, field=field)
    network = given.network
    for name, values_N in found.items():
        missing = np.flatnonzero(np.isnan(values_N))
        if missing.size:
            bank = network.nodes[missing[0]]
            remedy = f"Give every bank of the network a row in {called}; {missing.size} have none."
            raise BadInputError(field=f"{name} of {bank}", value="none", remedy=remedy)
    notes = [note for note in given.notes if "nothing there" not in note]
    claims_N, debts_N = network.incoming.astype(float), network.outgoing.astype(float)
    within_N = claims_N - debts_N
    capital_N, assets_N, outside_N = (found.get(name) for name in ("capital", "assets", "to_outside"))
    if capital_N is None:
        assert assets_N is not None
        outside_N = np.zeros(len(within_N)) if outside_N is None else outside_N
        capital_N = assets_N + within_N - outside_N
        notes.append("capital is outside assets and claims less debts")
    elif assets_N is None:
        net_N = capital_N - within_N + (0.0 if outside_N is None else outside_N)
        assets_N = np.maximum(net_N, 0.0)
        outside_N = np.maximum(-net_N, 0.0) + (0.0 if outside_N is None else outside_N)
        notes.append("outside assets are those that balance capital, net of outside debts")
    elif outside_N is None:
        outside_N = _balancing(network, assets_N + within_N - capital_N, assets_N + claims_N, field)
        notes.append("outside debts are those that balance capital")
    else:
        gap_N = np.abs(assets_N + within_N - outside_N - capital_N)
        odd = np.flatnonzero(gap_N > _AGREE * (assets_N + claims_N + np.abs(capital_N)))
        if odd.size:
            note = "capital is not outside assets and claims less debts; each model uses the columns it needs"
            notes.append(f"{odd.size} banks, {network.nodes[odd[0]]} among them: {note}")
    if network.matrix.dtype.kind == "i":
        notes.append(
            "amounts of the links are whole minor units; those of the balance sheet are taken as such"
        )
    rates: dict[str, Doubles] = {name: found[name] for name in _RATES if name in found}
    return Books(
        network=network,
        capital_N=capital_N,
        assets_N=assets_N,
        outside_N=outside_N,
        rates=rates,
        notes=tuple(notes),
    )


def books_sheet(network: PaymentNetwork, capital_share: float) -> pl.DataFrame:
    """Return a made-up balance sheet: capital as a share of a bank's debts or claims, whichever are more."""
    larger_N = np.maximum(network.incoming, network.outgoing).astype(float)
    return pl.DataFrame({"bank": list(network.nodes), "capital": capital_share * larger_N})


def _balancing(network: PaymentNetwork, gap_N: Doubles, scale_N: Doubles, field: str) -> Doubles:
    short = np.flatnonzero(gap_N < -_AGREE * np.maximum(scale_N, 1e-300))
    if short.size:
        bank, lacking = network.nodes[short[0]], -float(gap_N[short[0]])
        remedy = "Outside assets and claims must reach debts and capital; correct one, or leave a column out."
        raise BadInputError(field=f"{field}, assets of {bank}", value=f"{lacking:g} too few", remedy=remedy)
    return np.maximum(gap_N, 0.0)


def _frame(table: Any, field: str) -> pl.DataFrame:
    if isinstance(table, pl.DataFrame):
        return table
    try:
        return pl.DataFrame({str(name): table[name].to_list() for name in table.columns})
    except (AttributeError, TypeError, pl.exceptions.PolarsError):
        value = type(table).__name__
        remedy = "Give a data frame of polars or pandas."
        raise BadInputError(field=field, value=value, remedy=remedy) from None
