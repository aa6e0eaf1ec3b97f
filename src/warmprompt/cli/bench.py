"""`warmprompt bench`: time adaptation on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.parsing import whole_numbers

if TYPE_CHECKING:
    from warmprompt.adaptation.timing import AdaptTiming, Floor

app = typer.Typer(help="Time the adaptation of users on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Time the adaptation of users on this machine."""


@app.command("adapt")
def adapt_command(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    k: Annotated[int, typer.Option("--k", help="Events per user.")] = 10,
    batch: Annotated[str, typer.Option("--batch", help="Users in a batch, such as 1,32.")] = "1,32",
    rounds: Annotated[
        int, typer.Option("--rounds", help="Batches of one user timed; larger ones get fewer.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time adapting users with K events each, and what reading the weights alone would take."""
    batches = whole_numbers("--batch", batch) or ()
    from warmprompt.adaptation.opening import open_run
    from warmprompt.adaptation.timing import measure_floor, time_adaptation
    from warmprompt.evaluation.machine import describe_machine

    engine = open_run(run).engine
    timings = [
        time_adaptation(engine, k=k, batch=size, rounds=rounds, linear=linear)
        for linear in (False, True)
        for size in batches
    ]
    floor = measure_floor(engine)
    machine = describe_machine()
    backbone = engine.trained.manifest["backbone"]
    if as_json:
        rows = [asdict(timing) for timing in timings]
        figures = {
            "run": str(run),
            "backbone": backbone,
            "adapt": rows,
            "floor": asdict(floor),
            "machine": machine,
        }
        typer.echo(json.dumps(figures, indent=1))
        return
    console = results_console()
    console.print(
        f"{run}: {engine.trained.learner}, {backbone['name']} ({backbone['num_layers']} of "
        f"{backbone['total_layers']} layers, {backbone['dtype']}), K = {k}, no user text"
    )
    console.print(_table(timings))
    console.print(_floor_line(floor))
    console.print("machine: " + ", ".join(f"{name} {value}" for name, value in machine.items()))


def _table(timings: list[AdaptTiming]) -> Table:
    head = ("adapts", "batch", "rounds", "p50, ms", "p99, ms", "users/s", "inner steps", "model passes")
    table = Table(*head, show_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for one in timings:
        table.add_row(
            "in the linear response" if one.linear else "the prompt",
            str(one.batch),
            str(one.rounds),
            f"{one.p50_ms:.1f}",
            f"{one.p99_ms:.1f}",
            f"{one.users_per_s:,.1f}",
            str(one.num_steps),
            str(one.num_forwards),
        )
    return table


def _floor_line(floor: Floor) -> str:
    return (
        f"floor for one user: {floor.adapt_ms:.1f} ms ({floor.step_ms:.1f} ms a step), reading "
        f"{floor.weight_bytes / 1e6:.1f} MB of weights forward and backward at "
        f"{floor.bandwidth_gb_s:.1f} GB/s with {floor.threads} threads"
    )
