"""`warmprompt evaluate`: measure a run on users it has never seen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.parsing import names, whole_numbers
from warmprompt.cli.progress import shown_progress
from warmprompt.settings import load_settings

if TYPE_CHECKING:
    from warmprompt.evaluation.results import Results, Row

_METRIC = "NDCG@10"


def app(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", help="random, next, gap10, next10, temporal or cold-item."),
    ] = None,
    k: Annotated[str | None, typer.Option("--k", help="Sizes of the support set, such as 0,1,5.")] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", help="Split seeds; models for others than the run's are trained.")
    ] = None,
    baselines: Annotated[
        str | None, typer.Option("--baselines", help="Models to compare with, such as toppop,itemknn,ease.")
    ] = None,
    tune_budget: Annotated[
        float | None,
        typer.Option(
            "--tune-budget",
            help="Processor seconds to search the baselines' settings on validation users; 0 for none. "
            "Without it: what training took, 600 at most, and none where settings are recorded.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="JSON file for the rows; report.md and metrics.png go next to it."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help="Beside HR@10, NDCG@10 and MRR: all, or some such as Recall@10,ILS@10."
        ),
    ] = None,
    trec: Annotated[
        Path | None, typer.Option("--trec", help="New folder for rankings as TREC run files, with qrels.")
    ] = None,
    attributes: Annotated[
        bool | None, typer.Option("--attributes/--no-attributes", help="Show the tested users' attributes.")
    ] = None,
    exact: Annotated[
        bool | None,
        typer.Option("--exact/--no-exact", help="Add a row that moves prompts through the language model."),
    ] = None,
    candidates: Annotated[
        str | None, typer.Option("--candidates", help="full, sampled100 or query-only.")
    ] = None,
    reading: Annotated[
        str | None, typer.Option("--reading", help="With cold-item: new-only or mixed.")
    ] = None,
    min_rating: Annotated[
        float | None, typer.Option("--min-rating", help="Ratings below it are no query positives.")
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="TOML file whose [evaluate] section is read.")
    ] = None,
) -> None:
    """Measure rankings for users never seen in training."""
    flags = {
        "evaluate.protocol": protocol,
        "evaluate.k": whole_numbers("--k", k),
        "evaluate.seeds": whole_numbers("--seeds", seeds),
        "evaluate.baselines": names(baselines),
        "evaluate.tune_budget": tune_budget,
        "evaluate.metrics": names(metrics),
        "evaluate.attributes": attributes,
        "evaluate.exact": exact,
        "evaluate.candidates": candidates,
        "evaluate.reading": reading,
        "evaluate.min_rating": min_rating,
    }
    options = load_settings(file=settings_file, environment=os.environ, flags=flags).evaluate
    from warmprompt.assembly.evaluating import evaluate_run

    with shown_progress() as progress:
        results = evaluate_run(run, options, out=out, trec=trec, progress=progress)
    from warmprompt.evaluation.report import against_best_lines, compared_text

    console = results_console()
    console.print(compared_text(results))
    for metric in (_METRIC, *further_metrics(results)):
        console.print(metric_table(results, metric))
    for line in (*against_best_lines(results, _METRIC), baselines_text(results)):
        console.print(line)
    if missing := sorted(set(options.k) - {row.k for row in results.rows}):
        listed = ", ".join(map(str, missing))
        console.print(f"left out, as too few tested users have that many events: K = {listed}")
    if out is not None:
        console.print(f"wrote {out}, {out.with_name('report.md')}, {out.with_name('metrics.png')}")
    if trec is not None:
        console.print(f"wrote run files and qrels into {trec}")
    console.print(f'next: warmprompt recommend {run} --like "A TITLE"')


def further_metrics(results: Results) -> list[str]:
    """Return the metrics of a table besides the main three."""
    from warmprompt.evaluation.metrics import METRICS

    return [metric for metric in dict.fromkeys(row.metric for row in results.rows) if metric not in METRICS]


def baselines_text(results: Results) -> str:
    """Return how the baselines were tuned, and their settings."""
    from warmprompt.evaluation.report import baselines_caption, settings_lines

    return "\n".join([baselines_caption(results), *(f"  {line}" for line in settings_lines(results))]).strip()


def metric_table(results: Results, metric: str = _METRIC) -> Table:
    """Return the means over users of one metric, models by K, with half the width of their intervals."""
    rows = {(row.model, row.k): row for row in results.rows if row.seed is None and row.metric == metric}
    ks = sorted({k for _, k in rows})
    table = Table(title=f"{metric}, {results.dataset}, {results.settings['label']}", title_justify="left")
    table.add_column("")
    for k in ks:
        table.add_column(f"K = {k}", justify="right")
    for model in dict.fromkeys(model for model, _ in rows):
        table.add_row(model, *(_cell(rows[model, k]) for k in ks))
    if ks:
        first = next(iter(rows))[0]
        table.add_row("users", *(str(rows[first, k].num_users) for k in ks))
    return table


def _cell(row: Row) -> str:
    """Return a mean and half the width of its interval; what is of all users together has none."""
    return f"{row.value:.4f}" + ("" if row.low == row.high else f" ±{(row.high - row.low) / 2:.4f}")
