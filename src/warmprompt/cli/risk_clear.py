"""`warmprompt risk clear`: obligations cleared, from two tables to a table per bank."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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
    from warmprompt.risk.contagion import Clearing
    from warmprompt.risk.network.tables import NetworkTable


class _Solver(StrEnum):
    fixed_point = "fixed-point"
    fictitious = "fictitious"
    programme = "lp"


def clear_command(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or Parquet with payer, payee (or lender, borrower) and amount_minor or amount."
        ),
    ],
    assets: Annotated[
        Path | None,
        typer.Option("--assets", help="CSV with bank, assets and, if any, to_outside, alpha, beta."),
    ] = None,
    cash_share: Annotated[
        float | None, typer.Option("--cash-share", help="Instead: assets as a share of what each bank owes.")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Recovery of a failing bank's outside assets.")
    ] = 1.0,
    beta: Annotated[float, typer.Option("--beta", help="Recovery of what a failing bank receives.")] = 1.0,
    layout: LAYOUT = Layout.edges,
    rows: ROWS = None,
    duplicates: DUPLICATES = Duplicates.refuse,
    solver: Annotated[
        _Solver,
        typer.Option("--solver", help="All pay the same; fixed-point is fast, lp without recovery rates."),
    ] = _Solver.fixed_point,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file, a row per bank.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file: defaults by round.")] = None,
    as_json: JSON = False,
) -> None:
    """Clear obligations: who pays what, and who defaults."""
    require_suffix("--out", out, ".csv")
    require_suffix("--plot", plot, ".png")
    from warmprompt.cli.risk_files import clearing_csv, read_network

    given = read_network(file, currency=None, layout=layout, rows=rows, duplicates=duplicates)
    given, cleared = _cleared(given, assets, cash_share=cash_share, rates=(alpha, beta), solver=solver)
    network, drawn = given.network, plot if cleared.num_defaults else None
    if drawn is not None:
        from warmprompt.risk.plots import plot_cascade

        unpaid_N = 100 * cleared.shortfall_N / cleared.network.owed_N.sum()
        title, unit = "Defaults by round", "unpaid, % of what is owed"
        plot_cascade(cleared.round_N, unpaid_N, drawn, title=title, unit=unit)
    if out is not None:
        write_atomic(out, clearing_csv(network, cleared))
    figures = {
        "banks": network.num_nodes,
        "obligations": network.num_links,
        "owed to banks": float(network.total),
        "outside assets": float(cleared.assets_N.sum()),
        "paid": float(cleared.payments_N.sum()),
        "unpaid": float(cleared.shortfall_N.sum()),
        "lost in default": float(cleared.lost_N.sum()),
        "defaults": cleared.num_defaults,
        "rounds": cleared.num_rounds,
    }
    defaulted = [network.nodes[index] for index in cleared.defaulted_N.nonzero()[0]]
    if as_json:
        payments = dict(zip(network.nodes, cleared.payments_N.tolist(), strict=True))
        print_json(
            {name.replace(" ", "_"): value for name, value in figures.items()}
            | {"solver": cleared.solver, "rows": given.rows, "notes": given.notes}
            | {"defaulted": defaulted, "payments": payments}
        )
        return
    title = f"{file} (rows {given.rows}), {cleared.solver}"
    print_pairs(title, {name: shown_number(value) for name, value in figures.items()})
    if defaulted:
        results_console().print(
            f"in default: {', '.join(defaulted[:20])}{' ...' if len(defaulted) > 20 else ''}"
        )
    elif plot is not None:
        results_console().print(f"nobody defaults: {plot} was not drawn")
    print_notes(given.notes)
    print_written(out, drawn)


def _cleared(
    given: NetworkTable,
    assets: Path | None,
    *,
    cash_share: float | None,
    rates: tuple[float, float],
    solver: _Solver,
) -> tuple[NetworkTable, Clearing]:
    """Return the network with the banks of the balance sheet, and its clearing."""
    import numpy as np

    from warmprompt.cli.risk_files import read_sheet
    from warmprompt.risk.contagion import (
        DefaultCosts,
        clear_by_fictitious_default,
        clear_by_fixed_point,
        clear_by_linear_programme,
        obligations,
    )
    from warmprompt.risk.network.tables import SheetColumn

    if (assets is None) == (cash_share is None):
        value = "both" if assets else "neither"
        raise BadInputError(field="--assets, --cash-share", value=value, remedy="Give one of the two.")
    if cash_share is not None and not 0 <= cash_share < float("inf"):
        raise BadInputError(
            field="--cash-share", value=cash_share, remedy="Give a finite number of at least 0."
        )
    DefaultCosts(alpha=rates[0], beta=rates[1])
    columns = {
        "assets": SheetColumn(needed=True),
        "to_outside": SheetColumn(),
        "alpha": SheetColumn(default=rates[0], highest=1.0),
        "beta": SheetColumn(default=rates[1], highest=1.0),
    }
    if assets is not None:
        given, sheet = read_sheet(assets, given, columns)
    else:
        sheet = {"assets": cash_share * given.network.outgoing.astype(float)}
    owed = obligations(given.network.matrix.astype(float), to_outside=sheet.get("to_outside"))
    costs = DefaultCosts(alpha=sheet.get("alpha", rates[0]), beta=sheet.get("beta", rates[1]))
    if solver is _Solver.programme:
        if not (np.all(costs.alpha == 1.0) and np.all(costs.beta == 1.0)):
            remedy = "Leave recovery rates (alpha, beta) out, or choose another solver."
            raise BadInputError(field="--solver", value=solver.value, remedy=remedy)
        return given, clear_by_linear_programme(owed, sheet["assets"])
    solve = clear_by_fixed_point if solver is _Solver.fixed_point else clear_by_fictitious_default
    return given, solve(owed, sheet["assets"], costs=costs)
