"""`warmprompt evidence`: measure what is missing of every table, and write the pages."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from warmprompt.cli.console import results_console

if TYPE_CHECKING:
    from warmprompt.evidence.plan import EvidencePlan
    from warmprompt.evidence.scheduler import Step

_PLAIN_EVERY_S = 30.0

app = typer.Typer(help="Measure every table of the results, cell by cell, and write their pages.")

PlanFile = Annotated[Path, typer.Option("--plan", help="TOML file: data sets, protocols, seeds, models.")]
Root = Annotated[Path, typer.Option("--root", help="Folder that keeps the cells.")]
OnlySome = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Some cells: table=, dataset=, protocol=, seed= or model=, with commas; may be repeated.",
    ),
]
OnlyTables = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Tables that hold such cells, each written whole: table=, dataset=, protocol=, seed= or model=.",
    ),
]
Pages = Annotated[
    Path, typer.Option("--out", help="Folder of the pages, with the cells stored next to them.")
]
PLAN = Path("benchmarks/evidence.toml")
ROOT = Path("runs/evidence")
PAGES = Path("docs/results/evidence")
TEMPLATES = Path("benchmarks/results")
SEARCHES = Path("benchmarks/searches")
Searches = Annotated[Path, typer.Option("--searches", help="Folder that keeps the trials of searches.")]


@app.command("build")
def build(
    plan_file: PlanFile = PLAN,
    root: Root = ROOT,
    only: OnlySome = None,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Processes at a time.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=1, help="Processor threads of each.")] = 1,
    limit_minutes: Annotated[
        float | None, typer.Option("--limit-minutes", min=0, help="Begin no cell after so many minutes.")
    ] = None,
    out: Pages = PAGES,
    restore: Annotated[
        bool,
        typer.Option(
            "--restore/--no-restore", help="Read lost cells back from the pages, or measure them anew."
        ),
    ] = True,
) -> None:
    """Measure the cells that are missing; interrupted or killed, the same command goes on."""
    from functools import partial

    from warmprompt.evidence.jobs import filter_plan, measured_times, missing_jobs, read_only
    from warmprompt.evidence.plan import load_plan
    from warmprompt.evidence.scheduler import Pace, run_jobs, start_process

    selected = read_only(only or ())
    plan, absent = filter_plan(load_plan(plan_file), selected)
    if restore:
        _restore(plan, root, out)
    missing = missing_jobs(plan, root / "cells", selected)
    pace = Pace(jobs=jobs, limit_minutes=limit_minutes, times=measured_times(plan, root / "cells"))
    with _ending_when_asked(), _shown_progress() as progress:
        outcome = run_jobs(
            missing, root, pace, start=partial(start_process, root=root, threads=threads), progress=progress
        )
    results_console().print(f"{outcome.done} cells measured, {outcome.left} still missing")
    for name, why, log in outcome.failed:
        results_console().print(f"failed: {name}: {why} (log: {log})")
    _print_absent(absent)
    if outcome.failed:
        raise typer.Exit(1)


@app.command("status")
def status(plan_file: PlanFile = PLAN, root: Root = ROOT, only: OnlySome = None, out: Pages = PAGES) -> None:
    """Show how many cells of each table are there, and how long the missing ones will take."""
    from warmprompt.evidence.cells import is_there
    from warmprompt.evidence.jobs import (
        expected_s,
        filter_plan,
        measured_times,
        missing_jobs,
        read_only,
        wanted_cells,
    )
    from warmprompt.evidence.plan import load_plan

    selected = read_only(only or ())
    plan, absent = filter_plan(load_plan(plan_file), selected)
    _restore(plan, root, out)
    table = Table(title=f"{plan_file}, cells in {root}", title_justify="left")
    for head in ("table", "there", "missing"):
        table.add_column(head)
    there: dict[str, int] = {}
    missing: dict[str, dict[str, tuple[int, ...]]] = {}
    for page, spec, wanted in wanted_cells(plan, selected):
        missing.setdefault(page.name, {})
        if is_there(root / "cells", wanted):
            there[page.name] = there.get(page.name, 0) + 1
        else:
            missing[page.name][spec.name] = (*missing[page.name].get(spec.name, ()), wanted.seed)
    for name, models in missing.items():
        table.add_row(name, str(there.get(name, 0)), _by_seeds(models))
    results_console().print(table)
    times = measured_times(plan, root / "cells")
    expected = [expected_s(job, times) for job in missing_jobs(plan, root / "cells", selected)]
    known = [seconds for seconds in expected if seconds is not None]
    results_console().print(
        f"{len(expected)} fits are missing; {len(known)} of them take about {sum(known) / 60:.0f} minutes "
        f"of processor time, and {len(expected) - len(known)} are of models not yet timed on their data set"
    )
    _print_absent(absent)


@app.command("report")
def report(
    plan_file: PlanFile = PLAN,
    root: Root = ROOT,
    out: Pages = PAGES,
    searches: Searches = SEARCHES,
    only: OnlyTables = None,
    templates: Annotated[
        Path, typer.Option("--templates", help="Folder of the summary pages' templates.")
    ] = TEMPLATES,
    replace_fuller: Annotated[
        bool, typer.Option("--replace-fuller", help="Replace pages that were made of more cells, too.")
    ] = False,
) -> None:
    """Write a page, pictures and the rows of every table that has cells, and the summary pages above them."""
    from warmprompt.evidence.jobs import filter_plan, read_only
    from warmprompt.evidence.pages import write_pages
    from warmprompt.evidence.plan import load_plan
    from warmprompt.evidence.summaries import write_summaries

    whole = load_plan(plan_file)
    plan, absent = filter_plan(whole, read_only(only or ()))
    _restore(plan, root, out)
    for line in write_pages(plan, root, out, searches=searches, whole=whole, replace_fuller=replace_fuller):
        results_console().print(line)
    for line in write_summaries(templates, out):
        results_console().print(line)
    _print_absent(absent)


@app.command("tune")
def tune(
    dataset: Annotated[str, typer.Argument(help="Data set.", show_default=False)],
    models: Annotated[str, typer.Argument(help="Baselines, with commas.", show_default=False)],
    searches: Searches = SEARCHES,
    protocol: Annotated[
        str,
        typer.Option(
            "--protocol",
            help="Tune on episodes of this time-ordered protocol: next, gap10, next10 or temporal.",
        ),
    ] = "",
    trials: Annotated[int, typer.Option("--trials", min=20, help="Settings tried per baseline.")] = 20,
    halving: Annotated[
        bool, typer.Option("--halving", help="Try a quarter of the epochs first, and the best third in full.")
    ] = False,
) -> None:
    """Search the settings of baselines on the validation users of seed 0; a stopped search goes on."""
    from warmprompt.evidence.tuning import check_tunable, tune_baseline

    names = models.split(",")
    check_tunable(names, protocol)
    for name in names:
        best = tune_baseline(
            dataset,
            name,
            searches,
            protocol=protocol,
            num_trials=trials,
            halving=halving,
            progress=results_console().print,
        )
        results_console().print(
            f"{dataset} {name}: {best.settings} NDCG@10 {best.values[-1]:.4f} (trial {best.number})"
        )


def _restore(plan: EvidencePlan, root: Path, out: Path) -> None:
    """Write the plan's lost cells that are stored next to the pages, and say how many."""
    from warmprompt.evidence.stored_cells import restore_cells

    for one in restore_cells(plan, root / "cells", out):
        results_console().print(one.line())


def _print_absent(datasets: Sequence[str]) -> None:
    """Say which data sets' tables were left out."""
    if datasets:
        results_console().print(
            f"left out, not in the data home: {', '.join(datasets)}. "
            "Get them with `warmprompt data get` or `warmprompt data import`."
        )


def _by_seeds(models: Mapping[str, tuple[int, ...]]) -> str:
    """Return models and the seeds that each lacks, those that lack the same ones together."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for model, seeds in models.items():
        groups.setdefault(seeds, []).append(model)
    return (
        "; ".join(f"seed {','.join(map(str, seeds))}: {', '.join(own)}" for seeds, own in groups.items())
        or "none"
    )


@contextmanager
def _ending_when_asked() -> Iterator[None]:
    """Let a scheduler's request to stop (SIGTERM) end what runs, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _shown_progress() -> Iterator[Callable[[Step], None]]:
    """Yield a callback for the steps: bars in a terminal, plain lines elsewhere, on stderr."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines()
        return
    bars = Progress(
        TextColumn("cells"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}"),
        console=console,
    )
    with bars:
        task = bars.add_task("cells", total=None, now="")

        def show(step: Step) -> None:
            if step.finished:
                bars.console.print(step.finished)
            bars.update(task, completed=step.done, total=step.total, now=_now(step))

        yield show


class _Lines:
    """A line for each job that ends, and every half minute."""

    def __init__(self) -> None:
        self._begun = self._last = time.monotonic()

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if not step.finished and now - self._last < _PLAIN_EVERY_S:
            return
        self._last = now
        line = step.finished or _now(step)
        sys.stderr.write(f"[{now - self._begun:6.0f} s] {step.done}/{step.total} cells; {line}\n")
        sys.stderr.flush()


def _now(step: Step) -> str:
    """Return what is left and what runs, in one line."""
    left = "" if step.left_s is None else f"about {step.left_s / 60:.0f} min left in what waits"
    unknown = f"{step.unknown} fits not timed yet" if step.unknown else ""
    running = "; ".join(f"{name}: {line}" if line else name for name, line in step.running)
    return ", ".join(part for part in (left, unknown, running) if part)
