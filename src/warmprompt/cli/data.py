"""`warmprompt data`: get, import, describe and list data sets."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from warmprompt.data.describe import describe_folder, render_description
from warmprompt.data.fetch import PUBLISHED
from warmprompt.data.fetch import get_dataset as fetch
from warmprompt.data.home import data_home, dataset_folder, find_dataset, imported_names
from warmprompt.data.importing import DEFAULT_MAX_REJECTS, import_source
from warmprompt.data.readers import FORMATS, ReadOptions, TextOptions, open_source
from warmprompt.data.readers.cleaning import NULL_VALUES
from warmprompt.data.readers.source import EVENT_COLUMNS, FeedbackOptions, Repeats, Source, TimeUnit
from warmprompt.data.tables import Manifest, read_data_manifest
from warmprompt.data.understood import facts
from warmprompt.errors import BadInputError

app = typer.Typer(help="Get, import and describe data sets.", no_args_is_help=True)


class _Unit(StrEnum):
    s = "s"
    ms = "ms"
    us = "us"
    ns = "ns"
    iso = "iso"


class _Repeats(StrEnum):
    LAST = "last"
    COUNT = "count"


_NAME = Annotated[str, typer.Argument(help="Name of a data set, or its folder.", show_default=False)]
_OVERWRITE = Annotated[bool, typer.Option("--overwrite", help="Replace the data set of that name.")]
_MAP_HELP = "Which column is what, as NAME=COLUMN,..."


@app.command("get")
def fetch_command(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(PUBLISHED)}.", show_default=False)],
    from_file: Annotated[
        Path | None, typer.Option("--from", help="The archive, where it was already downloaded.")
    ] = None,
    overwrite: _OVERWRITE = False,
) -> None:
    """Fetch a public data set, check its hash, and import it; one that is here already stays as it is."""
    if name in PUBLISHED and name in imported_names() and from_file is None and not overwrite:
        Console().print(f"{name} is here already: {dataset_folder(name)}; --overwrite fetches it again")
        return
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
            "--map",
            help=f"{_MAP_HELP}: {', '.join(EVENT_COLUMNS)}; other names are item attributes.",
        ),
    ] = None,
    items: Annotated[Path | None, typer.Option("--items", help="File that describes items.")] = None,
    items_columns: Annotated[str | None, typer.Option("--items-map", help=_MAP_HELP)] = None,
    users: Annotated[Path | None, typer.Option("--users", help="File that describes users.")] = None,
    users_columns: Annotated[str | None, typer.Option("--users-map", help=_MAP_HELP)] = None,
    time_unit: Annotated[
        _Unit | None, typer.Option("--time-unit", help="How times are written; found out when left out.")
    ] = None,
    rating_scale: Annotated[
        str | None, typer.Option("--rating-scale", help="LOW,HIGH; the ones seen when left out.")
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option("--encoding", help="Of text files; UTF-8, Latin-1 or Windows-1252 when left out."),
    ] = None,
    separator: Annotated[
        str | None, typer.Option("--separator", help="Between fields, as ';' or tab; found when left out.")
    ] = None,
    no_header: Annotated[
        bool, typer.Option("--no-header", help="With --map: no line names the columns, user=1,item=2 do.")
    ] = False,
    null_values: Annotated[
        str | None,
        typer.Option("--null-values", help="Words for nothing, as NULL,-; the usual ones when left out."),
    ] = None,
    not_rated: Annotated[
        str | None, typer.Option("--not-rated", help="Ratings that mean none was given, as 0 or -1,99.")
    ] = None,
    event_weights: Annotated[
        str | None,
        typer.Option("--event-weights", help="With event=COLUMN: how much each type counts, TYPE=WEIGHT,..."),
    ] = None,
    repeats: Annotated[
        _Repeats | None,
        typer.Option("--repeats", help="Of several events with an item, keep the last, or their count."),
    ] = None,
    min_joined: Annotated[
        float | None,
        typer.Option("--min-joined", help="Lowest share of events that find their item and user; 0.5."),
    ] = None,
    max_rejects: Annotated[
        float, typer.Option("--max-rejects", help="Highest share of malformed rows in each table.")
    ] = DEFAULT_MAX_REJECTS,
    overwrite: _OVERWRITE = False,
) -> None:
    """Import MovieLens, Amazon Reviews, RecBole or sequence tables, or any file with --map."""
    options = ReadOptions(
        columns=_columns("--map", columns),
        items=items,
        items_columns=_columns("--items-map", items_columns),
        users=users,
        users_columns=_columns("--users-map", users_columns),
        text=TextOptions(encoding=encoding, separator=separator, header=not no_header),
        time_unit=None if time_unit is None else _unit(time_unit),
        rating_scale=_scale(rating_scale),
        null_values=NULL_VALUES if null_values is None else tuple(_words(null_values)),
    )
    source = _with_options(
        open_source(path, options, format_name=format_name),
        feedback=FeedbackOptions(
            not_rated=_values(not_rated),
            event_weights=_weights(event_weights),
            repeats=None if repeats is None else _repeats(repeats),
        ),
        min_joined=min_joined,
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
        Console().print(render_description(description))


@app.command("list")
def list_(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the data sets in the data home, and those that can be fetched."""
    here = {name: read_data_manifest(data_home() / name) for name in imported_names()}
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
    """Say what was understood, in at most ten lines."""
    rejects = sum(each.count for each in manifest.rejects)
    summary = manifest.understood
    idle = summary.num_idle_users if summary else 0
    typer.echo(
        f"{manifest.name}: {manifest.num_users:,} users, {manifest.num_items:,} items, "
        f"{manifest.num_events:,} events; "
        f"left out: {manifest.num_duplicates:,} duplicates, {rejects:,} rejects"
        + (f", {idle:,} users without events" if idle else "")
        + (f", {manifest.num_unrated_left_out:,} items without events" * bool(manifest.num_unrated_left_out))
    )
    if manifest.rejects:
        bad = (
            f"{each.table}: {each.count:,} x {each.reason}, line {', '.join(map(str, each.first_lines))}"
            for each in manifest.rejects
        )
        typer.echo(f"  rejects: {'; '.join(bad)}")
    if summary is not None:
        lines = facts(
            summary,
            source_format=manifest.source_format,
            scale=manifest.rating_scale,
            weight_unit=manifest.weight_unit,
        )
        for label, text in lines:
            typer.echo(f"  {label}: {text}")
    typer.echo(f"next: warmprompt train --data {manifest.name} --out runs/{manifest.name} (data in {folder})")


def _with_options(source: Source, *, feedback: FeedbackOptions, min_joined: float | None) -> Source:
    """Return the source read as the options say; what has no column to act on is refused."""
    for option, value, has, needed in (
        ("--not-rated", ",".join(feedback.not_rated), source.has_rating, "is the rating"),
        ("--event-weights", feedback.event_weights, source.has_event, "is the event's type"),
    ):
        if value and not has:
            raise BadInputError(field=option, value=value, remedy=f"Leave it out: no column {needed}.")
    if min_joined is not None and source.items is None and source.users is None:
        raise BadInputError(
            field="--min-joined", value=min_joined, remedy="Nothing is joined; give --items or --users."
        )
    return replace(
        source, feedback=feedback, min_joined=source.min_joined if min_joined is None else min_joined
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _values(text: str | None) -> tuple[str, ...]:
    """Read VALUE,VALUE."""
    values = () if text is None else tuple(part.strip() for part in text.split(","))
    if "" in values:
        raise BadInputError(field="--not-rated", value=text, remedy="Write values such as 0 or -1,99.")
    return values


def _weights(text: str | None) -> dict[str, float] | None:
    """Read TYPE=WEIGHT,TYPE=WEIGHT."""
    if text is None:
        return None
    weights = {}
    for kind, written in mapping_of("--event-weights", text).items():
        try:
            weights[kind] = float(written)
        except ValueError:
            weights[kind] = -1.0
        if not (isfinite(weights[kind]) and weights[kind] >= 0):
            raise BadInputError(
                field="--event-weights",
                value=f"{kind}={written}",
                remedy="Give a weight above 0, or 0 where the type is no event.",
            )
    return weights


def _repeats(repeats: _Repeats) -> Repeats:
    return "count" if repeats is _Repeats.COUNT else "last"


def _columns(option: str, text: str | None) -> dict[str, str] | None:
    return None if text is None else mapping_of(option, text)


def mapping_of(option: str, text: str) -> dict[str, str]:
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
    units: dict[_Unit, TimeUnit] = {
        _Unit.s: "s",
        _Unit.ms: "ms",
        _Unit.us: "us",
        _Unit.ns: "ns",
        _Unit.iso: "iso",
    }
    return units[unit]
