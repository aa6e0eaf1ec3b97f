"""`warmprompt risk profile`: one customer's payments, or a profiler judged on customers new to it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.risk_screen import print_pairs, print_written, require_suffix
from warmprompt.cli.risk_train import made_up_payments
from warmprompt.errors import BadInputError, UnknownNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from warmprompt.risk.profile import Audit, Drift, Payment, Payments, Profiler, RiskEstimate

_MOST = 500
_TITLES = {
    "AP": "average precision",
    "AUC": "area under the ROC curve",
    "Brier": "Brier score",
    "ECE": "expected calibration error",
    "cover": "payments whose set holds their label",
    "cover fraud": "frauds whose set holds fraud",
    "cover genuine": "genuine payments whose set holds genuine",
    "unsure": "payments left undecided",
}


def profile_command(
    profiler: Annotated[Path, typer.Argument(help="Folder that `risk train` wrote.", show_default=False)],
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV or Parquet of payments, the Fraud Detection Handbook's columns; else made up.",
            show_default=False,
        ),
    ] = None,
    entity: Annotated[
        int | None,
        typer.Option("--entity", help="Show this customer's payments; else judge customers that are new."),
    ] = None,
    last: Annotated[int, typer.Option("--last", help="How many of a customer's last payments.")] = 10,
    customers: Annotated[
        int, typer.Option("--customers", help="Customers to make up, or to judge of the file at most.")
    ] = _MOST,
    seed: Annotated[
        int, typer.Option("--seed", help="Of what is made up, or of who is judged; not the training's.")
    ] = 1,
    plot: Annotated[
        Path | None, typer.Option("--plot", help="PNG file: reliability, or the customer's payments.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score payments as they came, each with a profile of those before it and the labels due by then."""
    require_suffix("--plot", plot, ".png")
    for name, value in (("--last", last), ("--customers", customers)):
        if value < 1:
            raise BadInputError(field=name, value=value, remedy="Give at least 1.")
    from warmprompt.risk.profile import audit_profiler, load_profiler, read_marks, read_payment_table

    loaded, marks = load_profiler(profiler), read_marks(profiler)
    delay_s = loaded.model.label_delay_s
    table = (
        made_up_payments(customers, seed) if file is None else read_payment_table(file, label_delay_s=delay_s)
    )
    source = f"made-up payments, seed {seed}" if file is None else str(file)
    if entity is not None:
        _show(loaded, table, marks, entity, last, plot, as_json=as_json)
        return
    found = audit_profiler(loaded, table, last=last, most_entities=customers, leave_out=marks, seed=seed)
    if plot is not None:
        from warmprompt.risk.plots import plot_reliability

        plot_reliability(found, plot, title=source)
    if as_json:
        typer.echo(json.dumps(_audit_row(found) | {"source": source, "seed": seed}, indent=1))
        return
    numbers = {
        "customers that are new to it": f"{found.num_entities:,}",
        "their last payments": f"{len(found.fraud_R):,}",
        "frauds": f"{int(found.fraud_R.sum()):,}",
    }
    numbers |= {_TITLES[name]: f"{value:.4f}" for name, value in found.metrics.items()}
    print_pairs(source, numbers | _drift_lines(found.drift))
    print_written(plot)


def _audit_row(found: Audit) -> dict[str, object]:
    return {
        "customers": found.num_entities,
        "payments": len(found.fraud_R),
        "frauds": int(found.fraud_R.sum()),
        "metrics": dict(found.metrics),
        "reliability": found.reliability,
        "drift": {name: asdict(one) for name, one in found.drift.items()},
    }


def _drift_lines(drift: Mapping[str, Drift]) -> dict[str, str]:
    return {f"drift of {name}": str(one) for name, one in drift.items()}


@dataclass(frozen=True, kw_only=True)
class _Scored:
    payment: Payment
    estimate: RiskEstimate
    fraud: bool


def _show(
    profiler: Profiler,
    table: Payments,
    marks: frozenset[str],
    entity: int,
    last: int,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    import numpy as np

    from warmprompt.risk.profile import counterparty_context, drift_of, marks_of, score_rows

    rows = np.flatnonzero(table.entity_N == entity)
    if not len(rows):
        raise UnknownNameError(field="--entity", value=entity, remedy="Name a customer of the payments.")
    context_NC = counterparty_context(table)
    scored = _scored(profiler, table, context_NC, rows, entity, last)
    p_R = score_rows(profiler, table, context_NC, rows)[1].p_R
    drift = drift_of(
        p_R,
        table.fraud_N[rows],
        table.time_N[rows],
        now_s=int(table.time_N[-1]),
        delay_s=table.label_delay_s,
    )
    used = marks_of(table)[entity] in marks
    if plot is not None:
        from warmprompt.risk.plots import plot_payments

        plot_payments(
            [one.payment for one in scored],
            [one.estimate for one in scored],
            [one.fraud for one in scored],
            plot,
            title=f"Customer {entity}, the last {len(scored)} payments",
        )
    if as_json:
        shown = [
            {"time_s": one.payment.time_s, "amount_minor": one.payment.amount_minor} | asdict(one.estimate)
            for one in scored
        ]
        result = {"entity": entity, "used_in_training": used, "payments": shown}
        typer.echo(
            json.dumps(result | {"drift": {name: asdict(one) for name, one in drift.items()}}, indent=1)
        )
        return
    head = ("time, UTC", "amount, minor units", "known", "p_risk", "from", "to", "set says")
    shown_table = Table(*head, title=f"customer {entity}", title_justify="left", show_edge=False)
    for column in shown_table.columns[:-1]:
        column.justify = "right"
    for one in scored:
        each = one.estimate
        shown_table.add_row(
            f"{datetime.fromtimestamp(one.payment.time_s, UTC):%Y-%m-%d %H:%M:%S}",
            f"{one.payment.amount_minor:,}",
            str(each.num_known),
            *(f"{value:.4f}" for value in (each.p_risk, each.p_low, each.p_high)),
            each.decision,
        )
    results_console().print(shown_table)
    for name, line in _drift_lines(drift).items():
        results_console().print(f"{name}, of all payments of the customer: {line}")
    if used:
        results_console().print("note: the profiler was fitted to this customer too")
    print_written(plot)


def _scored(
    profiler: Profiler, table: Payments, context_NC: np.ndarray, rows: np.ndarray, entity: int, last: int
) -> list[_Scored]:
    """Return an entity's last payments and what the profiler thought of each when it came."""
    from warmprompt.risk.profile import MAX_SUPPORT, Payment

    payments = [
        Payment(
            id=int(row),
            time_s=int(table.time_N[row]),
            amount_minor=int(table.amount_minor_N[row]),
            counterparty=int(table.counterparty_N[row]),
            context=tuple(context_NC[row].tolist()),
        )
        for row in rows
    ]
    scored = []
    for index in range(max(0, len(payments) - last), len(payments)):
        now, before = payments[index], payments[max(0, index - MAX_SUPPORT) : index]
        due_s = now.time_s - profiler.model.label_delay_s
        labels = {one.id: bool(table.fraud_N[int(one.id)]) for one in before if one.time_s <= due_s}
        estimate = profiler.score(profiler.profile(entity, before, labels), now)
        scored.append(_Scored(payment=now, estimate=estimate, fraud=bool(table.fraud_N[int(now.id)])))
    return scored
