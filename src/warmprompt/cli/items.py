"""`warmprompt items`: which items a service leaves out of its rankings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console
from warmprompt.cli.keys import STORE, Store

app = typer.Typer(
    help="Hide items of a service from its rankings, and show them again.", no_args_is_help=True
)

_RUN = Annotated[Path, typer.Argument(help="Folder of the trained run that is served.", show_default=False)]
_TITLES = Annotated[
    list[str],
    typer.Argument(help="Titles of items, or the ids of items without one.", show_default=False),
]


@app.command()
def hide(run: _RUN, titles: _TITLES, store: Store = STORE) -> None:
    """Leave items out of every ranking; a running service follows within two seconds."""
    _change(run, titles, store, hidden=True)


@app.command()
def show(run: _RUN, titles: _TITLES, store: Store = STORE) -> None:
    """Let hidden items into rankings again; a running service follows within two seconds."""
    _change(run, titles, store, hidden=False)


@app.command()
def hidden(run: _RUN, store: Store = STORE) -> None:
    """List the hidden items."""
    from warmprompt.service.hiding import open_catalogue
    from warmprompt.store.opening import open_store

    with open_store(store) as opened:
        catalogue = open_catalogue(run, opened)
    table = Table("item", "title", show_edge=False)
    for item, title in catalogue.hidden():
        table.add_row(str(item), title)
    results_console().print(table)


def _change(run: Path, titles: list[str], store: str, *, hidden: bool) -> None:
    from warmprompt.service.hiding import open_catalogue
    from warmprompt.store.opening import open_store

    with open_store(store) as opened:
        catalogue = open_catalogue(run, opened)
        items = [catalogue.find(title) for title in titles]
        catalogue.hide(items, hidden=hidden)
    for item in items:
        typer.echo(f"{catalogue.title(item) or item} is {'hidden' if hidden else 'shown'}")
