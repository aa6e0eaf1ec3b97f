"""`warmprompt risk`: profiles, payment networks, clearing, settlement days, the detection-latency study.

Everything that is generated is synthetic; nothing here is a statement about a real payment system.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from warmprompt.cli.console import results_console
from warmprompt.cli.risk_profile import profile_command
from warmprompt.cli.risk_screen import Duplicates, Layout, print_pairs, print_written, require_suffix
from warmprompt.cli.risk_train import train_command
from warmprompt.errors import BadInputError
from warmprompt.files import write_atomic

if TYPE_CHECKING:
    from warmprompt.risk.contagion import Clearing
    from warmprompt.risk.network.graph import PaymentNetwork

app = typer.Typer(
    help="Risk profiles; payment networks, clearing, settlement and early detection, simulated."
)


class _Solver(StrEnum):
    fixed_point = "fixed-point"
    fictitious = "fictitious"
    programme = "lp"


class _Offsetting(StrEnum):
    none = "none"
    bilateral = "bilateral"
    multilateral = "multilateral"
    both = "both"


class _Incident(StrEnum):
    outage = "outage"
    stress = "stress"


class _Weighting(StrEnum):
    value = "value"
    uniform = "uniform"


class _Measure(StrEnum):
    credit = "credit"
    cut = "cut"
    stop = "stop"


_JSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SEED = Annotated[int, typer.Option("--seed", help="The only source of chance.")]
_BANKS = Annotated[
    int, typer.Option("--banks", max=10_000, help="Banks of the synthetic network, at least 54.")
]
_LAYOUT = Annotated[
    Layout,
    typer.Option("--layout", help="CSV: a row per link, or a matrix of payees by column and payers by row."),
]
_DUPLICATES = Annotated[
    Duplicates, typer.Option("--duplicates", help="A link that comes twice in a table: refuse it, or sum.")
]
_CURRENCY = Annotated[str, typer.Option("--currency", help="ISO 4217 code of the amounts.")]


app.command("train")(train_command)
app.command("profile")(profile_command)


@app.command("network")
def network_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="CSV or Parquet with payer, payee, amount_minor, or XML of pacs.008, pacs.009 and the "
            "pacs.004 that return them, each message a file; else drawn.",
        ),
    ] = None,
    banks: _BANKS = 5_290,
    seed: _SEED = 0,
    currency: _CURRENCY = "USD",
    layout: _LAYOUT = Layout.edges,
    duplicates: _DUPLICATES = Duplicates.refuse,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file for the links.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for a picture.")] = None,
    as_json: _JSON = False,
) -> None:
    """Read or generate a payment network and show its figures."""
    require_suffix("--out", out, ".csv")
    require_suffix("--plot", plot, ".png")
    from dataclasses import asdict

    from warmprompt.cli.risk_files import edges_csv, read_network
    from warmprompt.risk.network.statistics import statistics

    network = (
        read_network(*files, currency=currency, layout=layout, duplicates=duplicates)
        if files
        else _generated(banks, seed)
    )
    figures = asdict(statistics(network))
    if out is not None:
        write_atomic(out, edges_csv(network))
    if plot is not None:
        from warmprompt.risk.plots import plot_network

        plot_network(network, plot)
    if as_json:
        _print_json(figures | {"total": network.total, "currency": network.currency})
        return
    title = ", ".join(map(str, files or ())) or (
        f"synthetic, after published figures of Fedwire in 2004, seed {seed}"
    )
    print_pairs(title, {name.replace("_", " "): _number(value) for name, value in figures.items()})
    print_written(out, plot)


@app.command("clear")
def clear_command(
    file: Annotated[Path, typer.Argument(help="CSV or Parquet with payer, payee, amount_minor or amount.")],
    assets: Annotated[
        Path | None, typer.Option("--assets", help="CSV with bank, assets and, if any, to_outside.")
    ] = None,
    cash_share: Annotated[
        float | None, typer.Option("--cash-share", help="Instead: assets as a share of what each bank owes.")
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", help="Recovery of a failing bank's outside assets.")
    ] = 1.0,
    beta: Annotated[float, typer.Option("--beta", help="Recovery of what a failing bank receives.")] = 1.0,
    layout: _LAYOUT = Layout.edges,
    duplicates: _DUPLICATES = Duplicates.refuse,
    solver: Annotated[
        _Solver, typer.Option("--solver", help="lp is without recovery rates.")
    ] = _Solver.fictitious,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file, a row per bank.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file: defaults by round.")] = None,
    as_json: _JSON = False,
) -> None:
    """Clear obligations: who pays what, and who defaults."""
    require_suffix("--out", out, ".csv")
    require_suffix("--plot", plot, ".png")
    from warmprompt.cli.risk_files import clearing_csv, read_network

    network = read_network(file, currency=None, layout=layout, duplicates=duplicates)
    cleared, assets_N = _cleared(
        network, assets, cash_share=cash_share, alpha=alpha, beta=beta, solver=solver
    )
    if out is not None:
        write_atomic(out, clearing_csv(network, cleared))
    drawn = plot if cleared.num_defaults else None
    if drawn is not None:
        from warmprompt.risk.plots import plot_cascade

        unpaid_N = 100 * cleared.shortfall_N / (cleared.payments_N + cleared.shortfall_N).sum()
        title, unit = "Defaults by round", "unpaid, % of what is owed"
        plot_cascade(cleared.round_N, unpaid_N, drawn, title=title, unit=unit)
    figures = {
        "banks": network.num_nodes,
        "obligations": network.num_links,
        "owed to banks": float(network.total),
        "outside assets": float(assets_N.sum()),
        "paid": float(cleared.payments_N.sum()),
        "unpaid": float(cleared.shortfall_N.sum()),
        "lost in default": float(cleared.lost_N.sum()),
        "defaults": cleared.num_defaults,
        "rounds": cleared.num_rounds,
    }
    defaulted = [network.nodes[index] for index in cleared.defaulted_N.nonzero()[0]]
    if as_json:
        payments = dict(zip(network.nodes, cleared.payments_N.tolist(), strict=True))
        _print_json(
            {name.replace(" ", "_"): value for name, value in figures.items()}
            | {"solver": cleared.solver, "defaulted": defaulted, "payments": payments}
        )
        return
    print_pairs(f"{file}, {cleared.solver}", {name: _number(value) for name, value in figures.items()})
    if defaulted:
        results_console().print(
            f"in default: {', '.join(defaulted[:20])}{' ...' if len(defaulted) > 20 else ''}"
        )
    elif plot is not None:
        results_console().print(f"nobody defaults: {plot} was not drawn")
    print_written(out, drawn)


@app.command("simulate")
def simulate_command(
    banks: _BANKS = 200,
    payments: Annotated[int, typer.Option("--payments", help="Payments of the day.")] = 20_000,
    liquidity: Annotated[
        float, typer.Option("--liquidity", help="Opening balances, in multiples of what a usual day needs.")
    ] = 1.0,
    offsetting: Annotated[
        _Offsetting, typer.Option("--offsetting", help="What is done against gridlock every 15 minutes.")
    ] = _Offsetting.none,
    outage: Annotated[
        str | None, typer.Option("--outage", help="BANK@START+LENGTH in seconds, such as B001@36000+7200.")
    ] = None,
    seed: _SEED = 0,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file, a row per bank.")] = None,
    as_json: _JSON = False,
) -> None:
    """Simulate one synthetic day of real-time gross settlement."""
    require_suffix("--out", out, ".csv")
    from warmprompt.cli.risk_files import day_csv, read_outage
    from warmprompt.risk.settlement import Rules, banks_table, simulate_day
    from warmprompt.risk.study import BankWorldSettings, draw_day, make_bank_world

    settings = BankWorldSettings(num_banks=banks, payments_per_day=payments, liquidity=liquidity)
    world = make_bank_world(settings, seed=seed)
    actions = () if outage is None else read_outage(outage, world.nodes)
    rules = Rules(close_s=settings.day_s, bypass=True, offsetting=offsetting.value, sample_s=None)
    day = draw_day(world, seed=seed)
    result = simulate_day(day, banks_table(opening_minor=world.opening_minor), rules, actions)
    if out is not None:
        write_atomic(out, day_csv(world.nodes, result))
    figures: dict[str, float] = {
        "banks": world.num_banks,
        "payments": len(day),
        "settled": int(result.is_settled.sum()),
        "value due, minor units": int(day.amount_minor.sum()),
        "value unsettled, minor units": result.unsettled_minor,
        "delay indicator": result.delay_indicator,
        "settled by offsetting": int((result.how > 1).sum()),
        "opening balances, minor units": int(world.opening_minor.sum()),
    }
    if as_json:
        _print_json({re.sub(r",? ", "_", name): value for name, value in figures.items()} | {"seed": seed})
        return
    print_pairs(f"one synthetic day, seed {seed}", {name: _number(value) for name, value in figures.items()})
    print_written(out)


@app.command("study")
def study_command(
    scenarios: Annotated[int, typer.Option("--scenarios", help="Scenarios, at least 2.")] = 24,
    incident: Annotated[_Incident, typer.Option("--incident", help="What goes wrong.")] = _Incident.outage,
    drawn_by: Annotated[
        _Weighting, typer.Option("--drawn-by", help="Whom it hits: in proportion to value, or all equally.")
    ] = _Weighting.value,
    measure: Annotated[
        _Measure | None,
        typer.Option("--measure", help="credit for an outage and cut for stress if left out."),
    ] = None,
    alarms: Annotated[
        float, typer.Option("--alarms", help="Banks wrongly alarmed per day, all banks together.")
    ] = 0.05,
    decision: Annotated[float, typer.Option("--decision", help="Seconds from a score to an action.")] = 0.0,
    banks: _BANKS = 200,
    payments: Annotated[int, typer.Option("--payments", help="Payments of a day.")] = 20_000,
    seed: _SEED = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for report.md, results.json and losses.png.")
    ] = None,
    as_json: _JSON = False,
) -> None:
    """Measure what earlier detection of a troubled bank is worth."""
    from warmprompt.risk.study import (
        BankWorldSettings,
        IncidentSettings,
        ResponseSettings,
        StudySettings,
        run_study,
        study_json,
        study_report,
        summarise_study,
    )

    usual = "credit" if incident is _Incident.outage else "cut"
    settings = StudySettings(
        world=BankWorldSettings(num_banks=banks, payments_per_day=payments),
        incident=IncidentSettings(kind=incident.value, drawn_by=drawn_by.value),
        response=ResponseSettings(measure=measure.value if measure else usual),  # type: ignore[arg-type]
        num_scenarios=scenarios,
        alarms_per_day=alarms,
        other_alarms_per_day=tuple(rate for rate in (0.2, 1.0) if rate > alarms),
        decision_s=decision,
    )
    study = run_study(settings, seed=seed)
    summary = summarise_study(study)
    results, page = study_json(study, summary), study_report(study, summary)
    if out is not None:
        from warmprompt.risk.plots import plot_losses

        write_atomic(out / "report.md", (page + "\n![Loss over delay](losses.png)\n").encode())
        write_atomic(out / "results.json", results.encode())
        plot_losses({f"Incident: {incident.value}": summary}, out / "losses.png")
    if as_json:
        typer.echo(results, nl=False)
        return
    typer.echo(page, nl=False)
    if out is not None:
        print_written(out / "report.md", out / "results.json", out / "losses.png")


def _generated(banks: int, seed: int) -> PaymentNetwork:
    from warmprompt.risk.network.fedwire import fedwire_2004, generate_fedwire
    from warmprompt.risk.study.world import smaller_model

    if banks == fedwire_2004().num_participants:
        return generate_fedwire(seed)
    return generate_fedwire(seed, model=smaller_model(banks))


def _cleared(
    network: PaymentNetwork,
    assets: Path | None,
    *,
    cash_share: float | None,
    alpha: float,
    beta: float,
    solver: _Solver,
) -> tuple[Clearing, Any]:
    """Return the clearing and the outside assets it started from."""
    import numpy as np

    from warmprompt.cli.risk_files import read_assets
    from warmprompt.risk.contagion import (
        DefaultCosts,
        clear_by_fictitious_default,
        clear_by_fixed_point,
        clear_by_linear_programme,
        obligations,
    )

    if (assets is None) == (cash_share is None):
        value = "both" if assets else "neither"
        raise BadInputError(field="--assets, --cash-share", value=value, remedy="Give one of the two.")
    if cash_share is not None and not 0 <= cash_share < float("inf"):
        raise BadInputError(
            field="--cash-share", value=cash_share, remedy="Give a finite number of at least 0."
        )
    outside_N = np.zeros(network.num_nodes)
    if assets is not None:
        assets_N, outside_N = read_assets(assets, network)
    else:
        assets_N = cash_share * network.outgoing.astype(float)
    owed = obligations(network.matrix.astype(float), to_outside=outside_N)
    costs = DefaultCosts(alpha=alpha, beta=beta)
    if solver is _Solver.programme:
        if (alpha, beta) != (1.0, 1.0):
            remedy = "Leave --alpha and --beta out, or choose another solver."
            raise BadInputError(field="--solver", value=solver.value, remedy=remedy)
        return clear_by_linear_programme(owed, assets_N), assets_N
    solve = clear_by_fixed_point if solver is _Solver.fixed_point else clear_by_fictitious_default
    return solve(owed, assets_N, costs=costs), assets_N


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4f}".rstrip("0").rstrip(".")


def _print_json(results: dict[str, Any]) -> None:
    finite = {name: None if value != value else value for name, value in results.items()}  # noqa: PLR0124  NaN
    typer.echo(json.dumps(finite, indent=1))
