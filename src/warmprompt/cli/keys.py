"""`warmprompt keys`: who may ask the service."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.table import Table

from warmprompt.cli.console import results_console

app = typer.Typer(help="Make, list and revoke the keys that the service asks for.", no_args_is_help=True)

Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="WARMPROMPT_STORE",
        help="Where users are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.",
    ),
]
STORE = "sqlite:///warmprompt.db"


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What to call it by.", show_default=False)],
    scope: Annotated[
        list[str], typer.Option("--scope", help="read, write or admin; may be repeated.", show_default=False)
    ],
    store: Store = STORE,
) -> None:
    """Make a key and print it, this once; only its hash is kept."""
    from warmprompt.service.keys import new_key
    from warmprompt.store.opening import open_store

    key, kept = new_key(name, scope, now_s=int(time.time()))
    with open_store(store) as opened:
        opened.add_api_key(kept)
    typer.echo(key)


@app.command("list")
def list_keys(store: Store = STORE) -> None:
    """List the keys by name, with what they may do."""
    from warmprompt.store.opening import open_store

    with open_store(store) as opened:
        keys = opened.api_keys()
    table = Table("name", "scopes", "made", "revoked", show_edge=False)
    for key in keys:
        revoked = "" if key.revoked_s is None else _day(key.revoked_s)
        table.add_row(key.name, ", ".join(sorted(key.scopes)), _day(key.created_s), revoked)
    results_console().print(table)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Of the key.", show_default=False)], store: Store = STORE
) -> None:
    """Revoke a key for good; a running service refuses it within five seconds."""
    from warmprompt.store.opening import open_store

    with open_store(store) as opened:
        opened.revoke_api_key(name)
    typer.echo(f"{name} is revoked")


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))
