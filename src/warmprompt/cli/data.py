"""`warmprompt data`: get, import, describe and list data sets."""

from __future__ import annotations

import json
import time
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from warmprompt.data.describe import describe_folder, render
from warmprompt.data.fetch import PUBLISHED
from warmprompt.data.fetch import get as fetch
from warmprompt.data.home import data_home, dataset_folder, find_dataset, imported_names
from warmprompt.data.importing import DEFAULT_MAX_REJECTS, import_source
from warmprompt.data.readers import FORMATS, read_folder
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.readers.source import TimeUnit
from warmprompt.data.tables import Manifest, read_manifest
from warmprompt.errors import BadInputError

app = typer.Typer(help="Get, import and describe data sets.", no_args_is_help=True)


class _Unit(StrEnum):
    s = "s"
    ms = "ms"
    iso = "iso"


_NAME = Annotated[str, typer.Argument(help="Name of a data set, or its folder.", show_default=False)]
_OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace the data set of that name.")]
_MAP_HELP = "Which column is what, as NAME=COLUMN,..."


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(PUBLISHED)}.", show_default=False)],
    from_file: Annotated[
        Path | None, typer.Option("--from", help="The archive, where it was already downloaded.")
    ] = None,
    overwrite: _OVERWRITE = False,
) -> None:
    """Fetch a public data set, check its hash, and import it."""
    _report(fetch(name, source=from_file, overwrite=overwrite), dataset_folder(name))


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A folder in a known format, or a file with --map.")],
    name: Annotated[str, typer.Option("--name", help="How the data set will be called.")],
    format_name: Annotated[
        str | None, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; recognised when left out.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--map", help=f"{_MAP_HELP}: user, item, rating, time; other names are item attributes."
        ),
    ] = None,
    items: Annotated[Path | None, typer.Option("--items", help="File that describes items.")] = None,
    items_columns: Annotated[str | None, typer.Option("--items-map", help=_MAP_HELP)] = None,
    users: Annotated[Path | None, typer.Option("--users", help="File that describes users.")] = None,
    users_columns: Annotated[str | None, typer.Option("--users-map", help=_MAP_HELP)] = None,
    time_unit: Annotated[
        _Unit, typer.Option("--time-unit", help="With --map: how times are written.")
    ] = _Unit.s,
    rating_scale: Annotated[
        str | None, typer.Option("--rating-scale", help="With --map: LOW,HIGH; the ones seen when left out.")
    ] = None,
    max_rejects: Annotated[
        float, typer.Option("--max-rejects", help="Highest share of malformed rows in each table.")
    ] = DEFAULT_MAX_REJECTS,
    overwrite: _OVERWRITE = False,
) -> None:
    """Import MovieLens, Amazon Reviews, RecBole or sequence tables, or any file with --map."""
    if columns is None:
        _refuse_without_map(items=items, users=users, rating_scale=rating_scale)
        source = read_folder(path, format_name=format_name)
    else:
        if format_name is not None:
            raise BadInputError(field="--format", value=format_name, remedy="Give either --format or --map.")
        source = read_mapped(
            MappedFile(path=path, mapping=_mapping("--map", columns)),
            items=_mapped("--items", items, items_columns),
            users=_mapped("--users", users, users_columns),
            time_unit=_unit(time_unit),
            rating_scale=_scale(rating_scale),
        )
    folder = dataset_folder(name)
    manifest = import_source(
        source, folder, name=name, now_s=int(time.time()), max_rejects=max_rejects, overwrite=overwrite
    )
    _report(manifest, folder)


@app.command("describe")
def describe(
    name: _NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show counts, events per user, period, share of cold users, and rejects by reason."""
    description = describe_folder(find_dataset(name, also_known=tuple(PUBLISHED)))
    if as_json:
        typer.echo(json.dumps(description.as_json(), indent=2))
    else:
        Console().print(render(description))


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the data sets in the data home, and those that can be fetched."""
    here = {name: read_manifest(data_home() / name) for name in imported_names()}
    names = [*here, *(name for name in PUBLISHED if name not in here)]
    if as_json:
        rows = [
            {
                "name": name,
                "imported": name in here,
                "num_events": here[name].num_events if name in here else None,
            }
            for name in names
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("name", "users", "items", "events", "", title=str(data_home()), title_justify="left")
    for name in names:
        if name in here:
            each = here[name]
            table.add_row(
                name, *(f"{n:,}" for n in (each.num_users, each.num_items, each.num_events)), "imported"
            )
        else:
            table.add_row(name, "", "", "", f"warmprompt data get {name}")
    Console().print(table)


def _report(manifest: Manifest, folder: Path) -> None:
    rejects = sum(each.count for each in manifest.rejects)
    typer.echo(
        f"{manifest.name}: {manifest.num_users:,} users, {manifest.num_items:,} items, "
        f"{manifest.num_events:,} events; "
        f"left out: {manifest.num_duplicates:,} duplicates, {rejects:,} rejects"
    )
    for each in manifest.rejects:
        typer.echo(
            f"  {each.table}: {each.count:,} x {each.reason}, line {', '.join(map(str, each.first_lines))}"
        )
    typer.echo(f"in {folder}")


def _mapping(option: str, text: str) -> dict[str, str]:
    """Read NAME=COLUMN,NAME=COLUMN."""
    mapping: dict[str, str] = {}
    for part in text.split(","):
        name, equals, column = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not column or name in mapping:
            raise BadInputError(
                field=option, value=part, remedy="Write NAME=COLUMN,NAME=COLUMN, each name once."
            )
        mapping[name] = column
    return mapping


def _mapped(option: str, path: Path | None, columns: str | None) -> MappedFile | None:
    if path is None and columns is None:
        return None
    if path is None or columns is None:
        raise BadInputError(
            field=option, value=path or columns, remedy=f"Give {option} and {option}-map together."
        )
    return MappedFile(path=path, mapping=_mapping(f"{option}-map", columns))


def _scale(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high or not isfinite(high - low):
        raise BadInputError(field="--rating-scale", value=text, remedy="Write LOW,HIGH, such as 1,5.")
    return low, high


def _unit(unit: _Unit) -> TimeUnit:
    units: dict[_Unit, TimeUnit] = {_Unit.s: "s", _Unit.ms: "ms", _Unit.iso: "iso"}
    return units[unit]


def _refuse_without_map(**options: object) -> None:
    for option, value in options.items():
        if value is not None:
            raise BadInputError(
                field=f"--{option.replace('_', '-')}", value=value, remedy="Use it together with --map."
            )
