"""`warmprompt risk fire-sales`: overlapping portfolios, a fall of prices, and the sales that follow."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.risk_screen import (
    JSON,
    print_json,
    print_pairs,
    print_written,
    require_suffix,
    shown_number,
)
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic


def fire_sales_command(
    holdings: Annotated[
        Path, typer.Argument(help="CSV or Parquet with bank, asset, amount: a row per holding.")
    ],
    balance: Annotated[
        Path,
        typer.Option(
            "--balance", help="CSV or Parquet with bank and equity (or capital).", show_default=False
        ),
    ],
    shock: Annotated[
        list[str],
        typer.Option(
            "--shock", help="ASSET=10%: by how much its price falls. May be repeated.", show_default=False
        ),
    ],
    price_impact: Annotated[
        str,
        typer.Option(
            "--price-impact",
            help="Share of a price that selling one unit of money takes, such as 1e-13; or a table with "
            "asset and price_impact.",
            show_default=False,
        ),
    ],
    top: Annotated[int, typer.Option("--top", min=1, help="Banks that are printed.")] = 15,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file, a row per bank.")] = None,
    as_json: JSON = False,
) -> None:
    """Let prices fall: what banks must sell, and what that costs all who hold the same."""
    require_suffix("--out", out, ".csv")
    import numpy as np
    import polars as pl

    from warmprompt.cli.risk_files import keyed_numbers, read_share, read_table
    from warmprompt.risk.contagion import fire_sales
    from warmprompt.risk.network.edges import numbers

    table = read_table(holdings, "holdings")
    if not {"bank", "asset", "amount"} <= {*table.columns}:
        remedy = "Give columns bank, asset, amount."
        raise BadInputError(field=f"columns of {holdings}", value=", ".join(table.columns), remedy=remedy)
    amounts = numbers(table["amount"], whole=False, field=f"{holdings}, column 'amount'")
    pairs = table.select(pl.col("bank", "asset").cast(pl.String))
    if pairs.is_duplicated().any():
        twice = pairs.row(int(pairs.is_duplicated().arg_max() or 0))
        raise BadInputError(field=f"rows of {holdings}", value=twice, remedy="Give each holding once.")
    banks, assets = (sorted(pairs[name].drop_nulls().unique()) for name in ("bank", "asset"))
    held_NK = np.zeros((len(banks), len(assets)))
    rows = [banks.index(bank) for bank in pairs["bank"]]
    columns = [assets.index(asset) for asset in pairs["asset"]]
    held_NK[rows, columns] = amounts
    equity_N = keyed_numbers(balance, "--balance", "bank", ("equity", "capital"), banks)
    falls = dict.fromkeys(assets, 0.0)
    for text in shock:
        asset, _, share = text.rpartition("=")
        if asset not in falls:
            known = ", ".join(assets[:5]) + (" ..." if len(assets) > 5 else "")
            raise BadInputError(field="--shock", value=text, remedy=f"Write ASSET=10%; assets are {known}.")
        falls[asset] = read_share(share, text, "Write ASSET=10% or ASSET=0.1.")
    try:
        impact_K: object = float(price_impact)
    except ValueError:
        impact_K = keyed_numbers(Path(price_impact), "--price-impact", "asset", ("price_impact",), assets)
    sold = fire_sales(held_NK, equity_N, list(falls.values()), impact_K)  # type: ignore[arg-type]
    by_bank = pl.DataFrame(
        {
            "bank": banks,
            "equity": equity_N,
            "direct_loss": sold.direct_loss_N,
            "sold": sold.sold_N,
            "indirect_loss": sold.indirect_loss_N,
            "direct_vulnerability": sold.direct_vulnerability_N,
            "indirect_vulnerability": sold.indirect_vulnerability_N,
            "systemicness": sold.systemicness_N,
            "insolvent_by_shock": sold.insolvent_N,
        }
    ).sort("systemicness", descending=True, maintain_order=True)
    if out is not None:
        write_atomic(out, by_bank.write_csv().encode())
    figures: dict[str, float] = {
        "banks": len(banks),
        "assets": len(assets),
        "direct loss": float(sold.direct_loss_N.sum()),
        "sold": float(sold.sold_N.sum()),
        "indirect loss": float(sold.indirect_loss_N.sum()),
        "aggregate vulnerability": sold.aggregate_vulnerability,
        "insolvent by the shock": int(sold.insolvent_N.sum()),
    }
    if as_json:
        by_asset = dict(zip(assets, sold.price_fall_K.tolist(), strict=True))
        more = {"price_fall": by_asset, "table": by_bank.rows(named=True)}
        print_json(
            dict[str, object]({name.replace(" ", "_"): value for name, value in figures.items()}) | more
        )
        return
    print_pairs(f"fire sales, {holdings}", {name: shown_number(value) for name, value in figures.items()})
    shown = Table(
        "bank",
        "direct loss / equity",
        "by sales / equity",
        "systemicness",
        title="by systemicness",
        show_edge=False,
    )
    for row in by_bank.head(top).iter_rows(named=True):
        keys = ("direct_vulnerability", "indirect_vulnerability", "systemicness")
        shown.add_row(row["bank"], *(f"{row[key]:.4f}" for key in keys))
    results_console().print(shown)
    print_written(out)
