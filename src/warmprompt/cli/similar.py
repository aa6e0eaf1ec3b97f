"""`warmprompt similar`: the items most like an item."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from warmprompt.cli.console import results_console
from warmprompt.cli.selecting import Exclude, Filter, found, ranking_rows, selection_options, table_of
from warmprompt.errors import BadInputError


def app(
    run: Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)],
    title: Annotated[str, typer.Argument(help="Of the item, or its id if it has none.", show_default=False)],
    num: Annotated[int, typer.Option("-n", "--num", help="Places in the list.")] = 10,
    exclude: Exclude = None,
    filters: Filter = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the items most like an item, by what the same people like."""
    if num < 1:
        raise BadInputError(field="-n", value=num, remedy="Ask for at least 1 item.")
    from warmprompt.adaptation.opening import open_run

    model = open_run(run)
    item = found(model, title, "title")
    similar = ranking_rows(model.similar(item, num, **selection_options(model, exclude, filters)))
    if as_json:
        result = {"item": item, "title": model.title(item), "similar": similar}
        typer.echo(json.dumps(result, ensure_ascii=False, indent=1))
        return
    console = results_console()
    console.print(f"like {model.title(item) or item}:")
    console.print(table_of("title", similar))
