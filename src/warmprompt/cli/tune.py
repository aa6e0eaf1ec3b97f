"""`warmprompt tune`: search the product's own settings on validation users."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.progress import shown_progress
from warmprompt.errors import BadInputError
from warmprompt.settings import Settings, load_settings

if TYPE_CHECKING:
    from warmprompt.assembly.searching import SearchResult

_SHOWN = 5


def app(
    target: Annotated[
        str,
        typer.Argument(help="Folder of a trained run, or a data set's name or folder.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the search; the same one goes on.", show_default=False)
    ],
    trials: Annotated[int, typer.Option("--trials", help="Trials in all, earlier calls counted.")] = 20,
    budget: Annotated[
        float | None, typer.Option("--budget", help="Begin no trial after so many processor seconds.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Judge on episodes of random, next, gap10 or next10.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting to begin with, as section.key=value; may be repeated."),
    ] = None,
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="TOML file with settings to begin with.")
    ] = None,
) -> None:
    """Search the settings that matter most, judged on validation users.

    Interrupted or killed, the same command goes on with the next trial.
    """
    settings = _settings(target, protocol, assignments or [], settings_file)
    from warmprompt.assembly.searching import tune_settings

    with shown_progress() as progress:
        found = tune_settings(settings, out, num_trials=trials, budget_s=budget, progress=progress)
    console = results_console()
    console.print(trial_table(found))
    first = found.trials[0]
    console.print(
        f"judged on {found.num_users} validation users of split {found.settings.train.seed}, protocol "
        f"{found.settings.evaluate.protocol}, K = {', '.join(map(str, found.ks))}: NDCG@10 "
        f"{found.best.value:.4f}, {first.value:.4f} of the settings that the search began with"
    )
    if found.num_failed:
        console.print(f"{found.num_failed} trials could not be trained; the lines above say why")
    changes = " ".join(f"--set {name}={value:g}" for name, value in found.best.changes.items())
    console.print(f"the best: {changes}")
    console.print(f"next: warmprompt train --settings {found.file} --out RUN")


def trial_table(found: SearchResult) -> Table:
    """Return the best trials and the first, best first."""
    ranked = sorted(found.trials, key=lambda one: (-one.value, one.number))
    shown = [one for index, one in enumerate(ranked) if index < _SHOWN or one.number == 0]
    title = f"The best of {len(found.trials)} trials; trial 1 has the settings that the search began with"
    table = Table(title=title, title_justify="left")
    for head in ("trial", "NDCG@10", *found.best.changes, "processor s"):
        table.add_column(head, justify="right")
    for one in shown:
        values = (f"{value:g}" for value in one.changes.values())
        table.add_row(str(one.number + 1), f"{one.value:.4f}", *values, f"{one.cpu_s:.0f}")
    return table


def _settings(target: str, protocol: str | None, assignments: list[str], file: Path | None) -> Settings:
    """Return the settings to begin with: a run's own, or those that training on the data set would take."""
    given = None if protocol is None else {"evaluate.protocol": protocol}
    if not (Path(target) / "model.safetensors").is_file():
        flags = {"data.name": target, **(given or {})}
        return load_settings(file=file, environment=os.environ, assignments=assignments, flags=flags)
    if assignments or file is not None:
        option = "--set" if assignments else "--settings"
        remedy = "A run brings its own settings; name its data set to begin with others."
        raise BadInputError(field=option, value=assignments[0] if assignments else file, remedy=remedy)
    from warmprompt.runs.format import load_trained
    from warmprompt.runs.models import settings_of

    settings = settings_of(load_trained(Path(target)))
    return replace(settings, evaluate=load_settings(flags=given).evaluate) if given else settings
