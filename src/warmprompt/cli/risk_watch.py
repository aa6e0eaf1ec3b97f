"""`warmprompt risk watch`: which banks to watch, by probability of trouble times what their failure costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.risk_screen import (
    DUPLICATES,
    JSON,
    LAYOUT,
    ROWS,
    Duplicates,
    Layout,
    print_json,
    print_notes,
    print_written,
    require_suffix,
)
from warmprompt.cli.risk_stress import ModelName, check_books_options, given_books
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic


def watch_command(
    edges: Annotated[Path, typer.Argument(help="As for `risk stress`: who owes whom.")],
    scores: Annotated[
        Path,
        typer.Option(
            "--scores",
            help="CSV or Parquet that `risk score --out` wrote: entity (or bank), p_trouble, p_low, p_high.",
            show_default=False,
        ),
    ],
    balance: Annotated[
        Path | None, typer.Option("--balance", help="As for `risk stress`: bank, capital or assets or both.")
    ] = None,
    capital_share: Annotated[
        float | None, typer.Option("--capital-share", help="Instead: as for `risk stress`.")
    ] = None,
    model: Annotated[ModelName, typer.Option("--model", help="Model of contagion.")] = ModelName.debtrank,
    loss_given_default: Annotated[
        float,
        typer.Option(
            "--loss-given-default",
            help="debtrank, threshold: share of a claim on a failed bank that is lost.",
        ),
    ] = 1.0,
    layout: LAYOUT = Layout.edges,
    rows: ROWS = None,
    duplicates: DUPLICATES = Duplicates.refuse,
    top: Annotated[int, typer.Option("--top", min=1, help="Banks in the table of the report.")] = 15,
    out: Annotated[
        Path | None, typer.Option("--out", help="Report: .html with its picture, or .md beside it.")
    ] = None,
    table: Annotated[Path | None, typer.Option("--table", help="CSV file, a row per bank.")] = None,
    as_json: JSON = False,
) -> None:
    """Rank banks by expected systemic loss: probability of trouble times what their failure costs others."""
    if out is not None and out.suffix.lower() not in (".html", ".md"):
        raise BadInputError(field="--out", value=out, remedy="Name a .html or .md file.")
    require_suffix("--table", table, ".csv")
    check_books_options(balance, capital_share)
    from warmprompt.cli.risk_files import read_network, read_table
    from warmprompt.risk.stress import ContagionSettings, save_watch_report, watch_banks
    from warmprompt.risk.stress.blocks import amount_text

    settings = ContagionSettings(name=model.value, loss_given_default=loss_given_default)
    given = read_network(edges, currency=None, layout=layout, rows=rows, duplicates=duplicates)
    books = given_books(given, balance, capital_share)
    watch = watch_banks(books, read_table(scores, "--scores"), settings)
    found = watch.table()
    if table is not None:
        write_atomic(table, found.write_csv().encode())
    written = [] if out is None else save_watch_report(watch, out, top=top)
    notes = (*watch.notes, *books.notes)
    if as_json:
        print_json({"model": model.value, "notes": list(notes), "table": found.rows(named=True)})
        return
    shown = Table(
        "bank", "p_trouble", "impact", "expected loss", "from", "to", "share",
        title=f"{edges}, {model.value}: by expected systemic loss", show_edge=False,
    )  # fmt: skip
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in found.head(top).iter_rows(named=True):
        amounts = (
            amount_text(float(row[name])) for name in ("expected_loss", "expected_low", "expected_high")
        )
        shown.add_row(
            row["bank"], f"{row['p_trouble']:.3f}", f"{row['impact']:.4f}", *amounts, f"{row['share']:.1%}"
        )
    results_console().print(shown)
    print_notes(notes)
    print_written(*written, table)
