"""`warmprompt risk train`: from payments, or a table of entities, or made-up ones, to a profiler's folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.risk_table import TableOptions, train_table
from warmprompt.errors import BadInputError
from warmprompt.files import locked_path

if TYPE_CHECKING:
    from warmprompt.risk.profile import FitReport, Payments

MADE_UP, _MOST = 500, 2_000
_BACKBONE = "smollm2-135m"


def train_command(
    out: Annotated[Path, typer.Option("--out", help="Folder for the profiler.", show_default=False)],
    transactions: Annotated[
        Path | None,
        typer.Option(
            "--transactions",
            help="CSV or Parquet with the Fraud Detection Handbook's columns; else payments are made up.",
        ),
    ] = None,
    customers: Annotated[
        int | None,
        typer.Option(
            "--customers",
            help=f"Customers to make up ({MADE_UP} if left out), or to use of the file at most ({_MOST:,}).",
        ),
    ] = None,
    save_payments: Annotated[
        Path | None,
        typer.Option("--save-payments", help="Parquet or CSV file for the payments that were made up."),
    ] = None,
    table: Annotated[
        Path | None,
        typer.Option("--table", help="CSV or Parquet with a row per entity and period, not payments."),
    ] = None,
    save_table: Annotated[
        Path | None,
        typer.Option("--save-table", help="Make up a table of banks, write it there, and train on it."),
    ] = None,
    entity: Annotated[str | None, typer.Option("--entity", help="Column of the table: ids.")] = None,
    time: Annotated[
        str | None,
        typer.Option("--time", help="Column: periods, such as 7, 2016Q1, 2016-03 or 2016-03-31."),
    ] = None,
    label: Annotated[
        str | None, typer.Option("--label", help="Column: 2 to 20 classes, empty where unknown.")
    ] = None,
    features: Annotated[
        str | None, typer.Option("--features", help="Columns with commas; all others if left out.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Labels from best to worst, with commas; numbers need none."),
    ] = None,
    trouble: Annotated[
        str | None,
        typer.Option("--trouble", help="Labels whose probability is the risk; the worst if left out."),
    ] = None,
    delay: Annotated[
        int | None, typer.Option("--delay", help="Periods until a label is known; 1 if left out.")
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            help=f"A known name, a model folder, or a Hugging Face id; if left out {_BACKBONE} for payments, "
            "and none for a table.",
        ),
    ] = None,
    layers: Annotated[
        int, typer.Option("--layers", min=1, help="Read the backbone out after this many layers.")
    ] = 2,
    tangent_epochs: Annotated[
        int, typer.Option("--tangent-epochs", min=0, help="Passes that fit the entity vectors; 0: none.")
    ] = 3,
    prompt_steps: Annotated[
        int, typer.Option("--prompt-steps", min=0, help="Outer steps through the language model; 0: none.")
    ] = 10,
    payment_words: Annotated[
        bool, typer.Option("--payment-words", help="Let the language model read each payment in words too.")
    ] = False,
    level: Annotated[
        float,
        typer.Option("--level", help="Share of frauds, and of genuine payments, that sets shall cover."),
    ] = 0.9,
    seed: Annotated[int, typer.Option("--seed", help="The only source of chance.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a folder that is not empty.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a profiler: of payments for `risk profile` and `serve --risk`, of a table for `risk score`."""
    _check(out, transactions, customers, save_payments, level, overwrite=overwrite)
    options = TableOptions(
        table=table,
        save_table=save_table,
        entity=entity,
        time=time,
        label=label,
        features=features,
        classes=classes,
        trouble=trouble,
        delay=delay,
    )
    given = {
        "--transactions": transactions,
        "--customers": customers,
        "--save-payments": save_payments,
        "--payment-words": payment_words or None,
    }
    if options.asked([name for name, value in given.items() if value is not None]):
        with locked_path(out, field="--out", doing="is training into it"):
            train_table(
                options,
                out,
                backbone=None if backbone is None else (backbone, layers),
                tangent_epochs=tangent_epochs,
                prompt_steps=prompt_steps,
                level=level,
                seed=seed,
                overwrite=overwrite,
                as_json=as_json,
            )
        return
    from dataclasses import asdict

    from warmprompt.backbone.load import load_backbone
    from warmprompt.cli.progress import shown_progress
    from warmprompt.risk.profile import (
        ProfileSettings,
        fit_profiler,
        read_payment_table,
        save_profiler,
        write_payments,
    )

    with locked_path(out, field="--out", doing="is training into it"):
        payments = (
            read_payment_table(transactions) if transactions else made_up_payments(customers or MADE_UP, seed)
        )
        if save_payments is not None:
            write_payments(payments, save_payments)
        with shown_progress() as progress:
            profiler, report = fit_profiler(
                payments,
                load_backbone(backbone or _BACKBONE, num_layers=layers),
                settings=ProfileSettings(
                    tangent_epochs=tangent_epochs, prompt_steps=prompt_steps, payment_words=payment_words
                ),
                seed=seed,
                most_entities=(customers or _MOST) if transactions else None,
                level=level,
                progress=progress,
            )
        save_profiler(profiler, out, overwrite=overwrite, marks=report.marks)
    if as_json:
        result = asdict(report) | {"folder": str(out), "model_hash": profiler.model_hash, "seed": seed}
        del result["marks"]
        typer.echo(json.dumps(result, indent=1))
        return
    _print(report, "made-up payments" if transactions is None else str(transactions))
    written, customer = transactions or save_payments, int(payments.entity_N[-1])
    lines = [f"wrote {out}", f"next: warmprompt risk profile {out}"]
    if written is not None:
        lines.append(f"or:   warmprompt risk profile {out} {written} --entity {customer} --last 5")
    results_console().print("\n".join(lines))


def _check(
    out: Path,
    transactions: Path | None,
    customers: int | None,
    save_payments: Path | None,
    level: float,
    *,
    overwrite: bool,
) -> None:
    """Refuse before anything takes time."""
    if out.is_file() or (not overwrite and out.is_dir() and any(out.iterdir())):
        remedy = "It exists already; name another folder, or give --overwrite."
        raise BadInputError(field="--out", value=out, remedy=remedy)
    if customers is not None and customers < 1:
        raise BadInputError(field="--customers", value=customers, remedy="Give at least 1.")
    if not 0 < level < 1:
        raise BadInputError(field="--level", value=level, remedy="Give a number between 0 and 1.")
    if save_payments is not None and transactions is not None:
        remedy = "Leave it out: these payments lie in a file already."
        raise BadInputError(field="--save-payments", value=save_payments, remedy=remedy)
    if save_payments is not None and save_payments.suffix not in (".parquet", ".csv"):
        remedy = "Name a .parquet or .csv file."
        raise BadInputError(field="--save-payments", value=save_payments, remedy=remedy)


def made_up_payments(num_customers: int, seed: int) -> Payments:
    """Return a made-up world's payments; places and frauds grow with its customers."""
    from warmprompt.risk.profile import WorldSettings, make_world

    usual = WorldSettings()
    size = num_customers / usual.num_customers
    settings = WorldSettings(
        num_customers=num_customers,
        num_terminals=max(1, round(usual.num_terminals * size)),
        radius=usual.radius * max(1.0, size**-0.5),
        terminals_per_day=usual.terminals_per_day * size,
        customers_per_day=usual.customers_per_day * size,
    )
    return make_world(settings, seed=seed).payments


def _print(report: FitReport, source: str) -> None:
    parts = Table(
        "",
        "customers",
        "payments",
        "frauds",
        title=f"profiler of {source}",
        title_justify="left",
        show_edge=False,
    )
    rows = zip(
        ("training", "validation", "calibration"),
        report.entities,
        report.payments,
        report.frauds,
        strict=True,
    )
    for name, *numbers in rows:
        parts.add_row(name, *(f"{number:,}" for number in numbers))
    for column in parts.columns[1:]:
        column.justify = "right"
    results_console().print(parts)
    base = report.frauds[2] / report.payments[2]
    found = ", ".join(f"{value:.3f} with {k}" for k, value in report.average_precision.items())
    results_console().print(
        f"average precision on calibration customers, by known payments: {found}; share of frauds {base:.3f}"
    )
