"""`warmprompt describe`: what a run's scores are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def app(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the experts of a run: weight, size, cost, and what ranking loses without each."""
    from warmprompt.adaptation.opening import open_run

    described = open_run(run).describe()
    typer.echo(json.dumps(described.to_dict(), ensure_ascii=False, indent=1) if as_json else str(described))
