"""`warmprompt serve`: rankings over HTTP for another application."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from warmprompt.cli.console import results_console


class Sentences(StrEnum):
    """Who writes the sentences of explanations."""

    MODEL = "model"
    TEMPLATE = "template"


def app(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; beyond this machine only with a key.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    store: Annotated[
        str,
        typer.Option(
            "--store",
            envvar="WARMPROMPT_STORE",
            help="Where users are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
        ),
    ] = "sqlite:///warmprompt.db",
    budget: Annotated[
        int,
        typer.Option(
            "--budget-ms", min=0, max=10_000, help="How long a request waits for a new text to be read, ms."
        ),
    ] = 10_000,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, max=256, help="Texts in one pass of the model.")
    ] = 8,
    queue: Annotated[
        int, typer.Option("--queue", min=1, max=100_000, help="New texts of users that may wait to be read.")
    ] = 64,
    window: Annotated[
        float, typer.Option("--window-ms", min=0, max=1000, help="How long the first text of a batch waits.")
    ] = 3.0,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Requests a second of one key or address; 0: any number.")
    ] = 100.0,
    burst: Annotated[int, typer.Option("--burst", min=1, help="Requests at once after a pause.")] = 200,
    body: Annotated[
        int, typer.Option("--max-body", min=1024, max=2**30, help="Longest request body, bytes.")
    ] = 262_144,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, max=256, help="Processor threads of the model; states depend on their number."
        ),
    ] = 1,
    room: Annotated[
        int, typer.Option("--room", min=0, max=1_000_000, help="Items that may be added while it runs.")
    ] = 1024,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Answer explain=true.")] = True,
    sentences: Annotated[
        Sentences,
        typer.Option(
            "--sentences",
            help="Who writes them: the language model, which takes its whole size in memory and a second for "
            "one item, or the template.",
        ),
    ] = Sentences.MODEL,
    risk: Annotated[
        Path | None,
        typer.Option(
            "--risk", help="Folder of a saved risk profiler; serves /v1/entities.", show_default=False
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Load the run anew when its folder changes.")
    ] = False,
    log_level: Annotated[
        str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR; the log names no user.")
    ] = "INFO",
) -> None:
    """Serve a run over HTTP: events in, rankings adapted to them out."""
    _check_level(log_level)
    from warmprompt.service.explaining import explainer_of_run
    from warmprompt.service.serving import ProcessSettings, serve
    from warmprompt.service.settings import BatchLimits, RequestLimits, ServiceSettings

    settings = ServiceSettings(
        budget_s=budget / 1000,
        batch=BatchLimits(largest=max_batch, window_s=window / 1000, queue=queue),
        limits=RequestLimits(body_bytes=body, per_s=rate, burst=burst),
        room=room,
    )
    process = ProcessSettings(
        host=host, port=port, store=store, watch=watch, threads=threads, log_level=log_level.upper()
    )
    serve(
        run,
        process,
        settings=settings,
        risk=risk,
        make_explainer=explainer_of_run(writes=sentences is Sentences.MODEL) if explain else None,
        ready=lambda address: results_console().print(f"serving at {address}"),
    )


def _check_level(level: str) -> None:
    from warmprompt.errors import BadInputError

    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if level.upper() not in levels:
        raise BadInputError(field="--log-level", value=level, remedy=f"Choose {', '.join(levels)}.")
