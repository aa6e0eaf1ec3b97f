"""`warmprompt risk stress`: from two tables to the vulnerable banks, the impactful ones, and a report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    print_pairs,
    print_written,
    require_suffix,
    shown_number,
)
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic

if TYPE_CHECKING:
    from warmprompt.risk.network.graph import PaymentNetwork
    from warmprompt.risk.network.tables import NetworkTable
    from warmprompt.risk.stress import Books, StressTest


_REMEDY = "Write BANK, BANK=0.3, BANK=30%, all=0.05 or the name of a table."


class ModelName(StrEnum):
    """Models of contagion."""

    debtrank = "debtrank"
    threshold = "threshold"
    eisenberg_noe = "eisenberg-noe"
    rogers_veraart = "rogers-veraart"


class _ShockOf(StrEnum):
    capital = "capital"
    assets = "assets"


def stress_command(
    edges: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet with payer, payee (or lender, borrower) and amount_minor or amount."
        ),
    ],
    shock: Annotated[
        list[str],
        typer.Option(
            "--shock",
            help="BANK fails; BANK=0.3 or all=5% loses a share; FILE.csv has columns bank, share. May be "
            "repeated.",
            show_default=False,
        ),
    ],
    balance: Annotated[
        Path | None,
        typer.Option(
            "--balance",
            help="CSV or Parquet: bank, capital or assets or both; if any to_outside, alpha, beta, "
            "loss_given_default.",
        ),
    ] = None,
    capital_share: Annotated[
        float | None,
        typer.Option(
            "--capital-share",
            help="Instead: capital as a share of what each bank owes or is owed, whichever is more.",
        ),
    ] = None,
    shock_of: Annotated[
        _ShockOf | None,
        typer.Option(
            "--shock-of",
            help="What the shares of a shock are shares of: assets (outside the network) if left out for the "
            "two clearing models, else capital.",
        ),
    ] = None,
    model: Annotated[ModelName, typer.Option("--model", help="Model of contagion.")] = ModelName.debtrank,
    loss_given_default: Annotated[
        float,
        typer.Option(
            "--loss-given-default",
            help="debtrank, threshold: share of a claim on a failed bank that is lost.",
        ),
    ] = 1.0,
    alpha: Annotated[
        float, typer.Option("--alpha", help="rogers-veraart: recovery of a failing bank's outside assets.")
    ] = 1.0,
    beta: Annotated[
        float, typer.Option("--beta", help="rogers-veraart: recovery of what a failing bank receives.")
    ] = 1.0,
    reverse: Annotated[
        float,
        typer.Option("--reverse", help="Share of banks whose failure the reverse stress test looks for."),
    ] = 0.1,
    layout: LAYOUT = Layout.edges,
    rows: ROWS = None,
    duplicates: DUPLICATES = Duplicates.refuse,
    top: Annotated[int, typer.Option("--top", min=1, help="Banks in each table of the report.")] = 15,
    out: Annotated[
        Path | None, typer.Option("--out", help="Report: .html with its pictures, or .md beside them.")
    ] = None,
    table: Annotated[Path | None, typer.Option("--table", help="CSV file, a row per bank.")] = None,
    as_json: JSON = False,
) -> None:
    """Shock some banks: who fails, who is vulnerable, who matters, and what it takes."""
    if out is not None and out.suffix.lower() not in (".html", ".md"):
        raise BadInputError(field="--out", value=out, remedy="Name a .html or .md file.")
    require_suffix("--table", table, ".csv")
    check_books_options(balance, capital_share)
    from warmprompt.cli.risk_files import read_network
    from warmprompt.risk.stress import ContagionSettings, run_stress, save_stress_report

    settings = ContagionSettings(
        name=model.value, loss_given_default=loss_given_default, alpha=alpha, beta=beta
    )
    given = read_network(edges, currency=None, layout=layout, rows=rows, duplicates=duplicates)
    books = given_books(given, balance, capital_share)
    test = run_stress(
        books,
        _read_shocks(shock, books.network),
        shock_of=shock_of.value if shock_of else None,
        settings=settings,
        reverse_share=reverse,
    )
    if table is not None:
        write_atomic(table, test.table().write_csv().encode())
    written = (
        [] if out is None else save_stress_report(test, out, title=f"Stress test of {edges.name}", top=top)
    )
    if as_json:
        print_json(_figures(test) | {"table": test.table().rows(named=True)})
        return
    figures = {name: value for name, value in _figures(test).items() if isinstance(value, int | float)}
    print_pairs(
        f"{edges} (rows {given.rows}), {model.value}",
        {name.replace("_", " "): shown_number(value) for name, value in figures.items()},
    )
    _print_banks(test, "vulnerability", top)
    _print_banks(test, "impact", top)
    print_notes(books.notes)
    print_written(*written, table)


def check_books_options(balance: Path | None, capital_share: float | None) -> None:
    """Refuse both or none of the two ways to say what capital banks have.

    Raises:
        BadInputError: Names the options.
    """
    if (balance is None) == (capital_share is None):
        value = "both" if balance else "neither"
        raise BadInputError(field="--balance, --capital-share", value=value, remedy="Give one of the two.")
    if capital_share is not None and not 0 < capital_share < float("inf"):
        remedy = "Give a finite number above 0."
        raise BadInputError(field="--capital-share", value=capital_share, remedy=remedy)


def given_books(given: NetworkTable, balance: Path | None, capital_share: float | None) -> Books:
    """Return a network's books from the sheet, or with capital as a share."""
    from warmprompt.cli.risk_files import read_table
    from warmprompt.risk.stress.books import books_of, books_sheet

    if balance is not None:
        sheet, called = read_table(balance, "--balance"), str(balance)
    else:
        sheet, called = books_sheet(given.network, capital_share or 0.0), "--capital-share"
    return books_of(given, sheet, called=called, field=f"--balance {called}" if balance else called)


def _read_shocks(texts: list[str], network: PaymentNetwork) -> dict[str, float | None]:
    """Return what each bank loses, None where it fails; of several losses of a bank the largest counts."""
    from warmprompt.cli.risk_files import read_share

    shocks: dict[str, float | None] = {}
    for text in texts:
        bank, equals, part = text.rpartition("=")
        if text in network.index:
            found: dict[str, float | None] = {text: None}
        elif not equals and text.lower().endswith((".csv", ".parquet")):
            found = _shock_table(Path(text))
        elif equals:
            lost = read_share(part, text, _REMEDY)
            found = dict.fromkeys(network.nodes if bank == "all" else [bank], lost)
        else:
            found = {network.nodes[network.index_of(text)]: None}
        for name, share in found.items():
            before = shocks.get(name, 0.0)
            shocks[name] = None if share is None or before is None else max(share, before)
    return shocks


def _shock_table(path: Path) -> dict[str, float | None]:
    from warmprompt.cli.risk_files import read_share, read_table

    table = read_table(path, "--shock")
    if not {"bank", "share"} <= {*table.columns}:
        remedy = "Give columns bank and share."
        raise BadInputError(field=f"--shock {path}", value=", ".join(table.columns), remedy=remedy)
    return {
        str(bank): read_share(str(share), f"{path}, {bank}: {share}", _REMEDY)
        for bank, share in table.select("bank", "share").iter_rows()
    }


def _figures(test: StressTest) -> dict[str, object]:
    books, outcome, reverse = test.books, test.outcome, test.reverse
    return {
        "banks": books.network.num_nodes,
        "obligations": books.network.num_links,
        "fail": int(outcome.failed_N.sum()),
        "fail_by_the_shock_itself": int((outcome.round_N == 0).sum()),
        "fail_without_shock": int(test.before_N.sum()),
        "rounds": max(0, int(outcome.round_N.max(initial=0))),
        "lost_by_the_shock": float(test.shocked_N.sum()),
        "lost_on_claims": float(outcome.losses_N.sum()),
        "destroyed_by_default": float(outcome.destroyed_N.sum()),
        "reverse_share": reverse.share,
        "reverse_scale": reverse.scale,
        "reverse_banks": None if reverse.banks is None else list(reverse.banks),
        "notes": list(books.notes),
    }


def _print_banks(test: StressTest, score: str, top: int) -> None:
    rows = test.table().sort(score, descending=True, maintain_order=True).head(top)
    shown = Table(
        "bank", "vulnerability", "impact", "capital lost", "round", title=f"by {score}", show_edge=False
    )
    for column in shown.columns[1:]:
        column.justify = "right"
    for row in rows.iter_rows(named=True):
        shown.add_row(
            row["bank"],
            f"{row['vulnerability']:.4f}",
            f"{row['impact']:.4f}",
            f"{row['lost_share_of_capital']:.1%}",
            "" if row["round"] is None else str(row["round"]),
        )
    results_console().print(shown)
