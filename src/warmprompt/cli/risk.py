"""`warmprompt risk`: profiles, payment networks, clearing, settlement days, the detection-latency study.

Everything that is generated is synthetic; nothing here is a statement about a real payment system.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from warmprompt.cli.risk_clear import clear_command
from warmprompt.cli.risk_fire_sales import fire_sales_command
from warmprompt.cli.risk_profile import profile_command
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
from warmprompt.cli.risk_simulate import simulate_command
from warmprompt.cli.risk_stress import stress_command
from warmprompt.cli.risk_table import score_command
from warmprompt.cli.risk_train import train_command
from warmprompt.cli.risk_watch import watch_command
from warmprompt.files import write_atomic

if TYPE_CHECKING:
    from warmprompt.risk.network.graph import PaymentNetwork

app = typer.Typer(
    help="Risk profiles; payment networks, clearing, settlement and early detection, simulated."
)


class _Method(StrEnum):
    maximum_entropy = "maximum-entropy"
    minimum_density = "minimum-density"


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


_SEED = Annotated[int, typer.Option("--seed", help="The only source of chance.")]
_BANKS = Annotated[
    int, typer.Option("--banks", max=10_000, help="Banks of the synthetic network, at least 54.")
]
_CURRENCY = Annotated[str, typer.Option("--currency", help="ISO 4217 code of the amounts.")]


app.command("train")(train_command)
app.command("profile")(profile_command)
app.command("score")(score_command)
app.command("clear")(clear_command)
app.command("stress")(stress_command)
app.command("watch")(watch_command)
app.command("fire-sales")(fire_sales_command)
app.command("simulate")(simulate_command)


@app.command("network")
def network_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            help="CSV or Parquet with payer, payee, amount_minor, or XML of pacs.008, pacs.009 and the "
            "pacs.004 that return them, each message a file: files, folders, 'globs'; else drawn.",
        ),
    ] = None,
    banks: _BANKS = 5_290,
    seed: _SEED = 0,
    currency: _CURRENCY = "USD",
    layout: LAYOUT = Layout.edges,
    rows: ROWS = None,
    duplicates: DUPLICATES = Duplicates.refuse,
    totals: Annotated[
        _Method | None,
        typer.Option(
            "--totals",
            help="FILES is a table of bank, debts (or liabilities) and claims (or assets) within the "
            "network; how to find the links.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="CSV file for the links.")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="PNG file for a picture.")] = None,
    as_json: JSON = False,
) -> None:
    """Read or generate a payment network and show its figures."""
    require_suffix("--out", out, ".csv")
    require_suffix("--plot", plot, ".png")
    from dataclasses import asdict

    from warmprompt.cli.risk_files import edges_csv, expanded, read_network, read_totals
    from warmprompt.risk.network.statistics import statistics

    notes: tuple[str, ...] = ()
    if totals is not None:
        network = read_totals(files or [], totals.value, seed, currency)
        notes = (f"only totals are known: the links are those of {totals.value.replace('-', ' ')}",)
    elif files:
        given = read_network(
            *expanded(files), currency=currency, layout=layout, rows=rows, duplicates=duplicates
        )
        network, notes = given.network, given.notes
    else:
        network = _generated(banks, seed)
    figures = asdict(statistics(network))
    if out is not None:
        write_atomic(out, edges_csv(network))
    if plot is not None:
        from warmprompt.risk.plots import plot_network

        plot_network(network, plot)
    if as_json:
        more = {"total": network.total, "currency": network.currency, "notes": notes}
        print_json(figures | more)
        return
    title = ", ".join(map(str, files or ())) or (
        f"synthetic, after published figures of Fedwire in 2004, seed {seed}"
    )
    print_pairs(title, {name.replace("_", " "): shown_number(value) for name, value in figures.items()})
    print_notes(notes)
    print_written(out, plot)


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
    as_json: JSON = False,
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
