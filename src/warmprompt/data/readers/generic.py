"""Any CSV, TSV, JSON lines or Parquet file, its columns named by the caller.

A mapping defines which of the file's columns is which of ours: {"user": "uid", "item": "sku"}. In the
file of events the names of `EVENT_COLUMNS` are events; any other name (title, genres, ...) is an
attribute of the item, taken from its first row. A name followed by a separator in brackets,
"genres[|]", is a list written in one text column.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from warmprompt.data.readers.cleaning import NULL_VALUES, cleaned, with_ids_alone
from warmprompt.data.readers.delimited import TextOptions
from warmprompt.data.readers.opened import InputTable, Mapped, open_input
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import EVENT_COLUMNS, LINE, Frames, RejectLog, Source, TimeUnit
from warmprompt.errors import BadInputError

_NAME = re.compile(r"(?P<name>\w+)(\[(?P<separator>.+)\])?")


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """A file and what its columns are.

    Attributes:
        path: .csv, .tsv, .jsonl, .json, .ndjson (each also .gz), .parquet, or other delimited text.
        mapping: Our name to the file's column.
    """

    path: Path
    mapping: Mapped


@dataclass(frozen=True, kw_only=True)
class MappedTable:
    """An opened file and what its columns are."""

    table: InputTable
    mapping: Mapped


def read_mapped(
    events: MappedFile,
    *,
    items: MappedFile | None = None,
    users: MappedFile | None = None,
    time_unit: TimeUnit | None = None,
    rating_scale: tuple[float, float] | None = None,
    options: ReadOptions | None = None,
) -> Source:
    """Return the data set of one to three files.

    Args:
        events: Needs user and item; the other names of `EVENT_COLUMNS` are optional.
        items: Needs item; every other name is an attribute. Not together with attributes in `events`.
        users: Needs user; every other name is an attribute.
        time_unit: How times are written; found out otherwise.
        rating_scale: Lowest and highest possible rating; the ones seen otherwise.
        options: How text files are written, and which words stand for nothing.

    Raises:
        BadInputError: A file's kind is unknown, a column is missing, a name is wrong, or an option
            has nothing to apply to.
    """
    options = options or ReadOptions()
    opened = {
        name: None if file is None else open_mapped(file, needed, lead=name == "events", text=options.text)
        for name, file, needed in (
            ("events", events, ("user", "item")),
            ("items", items, ("item",)),
            ("users", users, ("user",)),
        )
    }
    lead = opened["events"]
    assert lead is not None
    source = source_of(
        lead,
        format_name=f"mapped {lead.table.kind}",
        items=opened["items"],
        users=opened["users"],
        time_unit=time_unit,
        null_values=options.null_values,
    )
    refuse_unused_text(options.text, [each.table for each in opened.values() if each is not None])
    return replace(source, rating_scale=rating_scale)


def open_mapped(
    file: MappedFile, needed: tuple[str, ...], *, lead: bool = False, text: TextOptions | None = None
) -> MappedTable:
    """Open a file, and check the names that its columns are given.

    Raises:
        BadInputError: A name that is needed is missing, a name is wrong, or as `open_input`.
    """
    check_names(file, needed)
    return MappedTable(
        table=open_input(file.path, file.mapping, lead=lead, options=text), mapping=file.mapping
    )


def source_of(
    events: MappedTable,
    *,
    format_name: str,
    items: MappedTable | None = None,
    users: MappedTable | None = None,
    time_unit: TimeUnit | None = None,
    null_values: tuple[str, ...] = NULL_VALUES,
) -> Source:
    """Return the data set of one to three opened files; arguments and errors as `read_mapped`."""
    in_events = {name: column for name, column in events.mapping.items() if name in EVENT_COLUMNS}
    inline = {name: column for name, column in events.mapping.items() if name not in EVENT_COLUMNS}
    if inline and items is not None:
        raise BadInputError(
            field="--map",
            value=", ".join(inline),
            remedy="Name item attributes with --items-map, not in both files.",
        )
    given = {"interactions": events, "items": items, "users": users}
    tables = {name: each for name, each in given.items() if each is not None}
    typed = all(each.table.typed for each in tables.values())
    item_frames = frames_of(items, typed=typed) if items else None
    if inline:
        described = replace(events, mapping={"item": in_events["item"], **inline})
        item_frames = _first_rows(with_ids_alone(frames_of(described, typed=typed), null_values))
    dated = in_events.get("time") in events.table.dates
    if dated and time_unit is not None:
        raise BadInputError(
            field="--time-unit",
            value=time_unit,
            remedy="The column holds dates already; leave it out.",
        )
    source = Source(
        format=format_name,
        files=tuple(each.table.path for each in tables.values()),
        events=frames_of(replace(events, mapping=in_events), typed=typed),
        items=item_frames,
        users=frames_of(users, typed=typed) if users else None,
        has_rating="rating" in in_events,
        has_time="time" in in_events,
        has_label="label" in in_events,
        has_weight="weight" in in_events,
        has_event="event" in in_events,
        has_text="text" in in_events,
        typed_ids=typed,
        time_unit="dates" if dated else time_unit,
        # Items of refused events are no items.
        unrated_items=not inline,
        used={name: dict(each.mapping) for name, each in tables.items()},
        unused={name: each.table.unused(each.mapping) for name, each in tables.items()},
        encodings={
            each.table.path.name: each.table.written for each in tables.values() if each.table.written
        },
    )
    return cleaned(source, null_values)


def refuse_unused_text(text: TextOptions, tables: list[InputTable]) -> None:
    """Raise BadInputError where an option about text files has no such file to apply to."""
    delimited = any(table.kind not in ("jsonl", "parquet") for table in tables)
    if text.encoding is not None and not any(table.written for table in tables):
        raise BadInputError(field="--encoding", value=text.encoding, remedy="Leave it out: no file is text.")
    if text.separator is not None and not delimited:
        raise BadInputError(
            field="--separator", value=text.separator, remedy="Leave it out: no file has separated columns."
        )
    if not text.header and not delimited:
        raise BadInputError(
            field="--no-header", value="given", remedy="Leave it out: no file has a line of column names."
        )


def check_names(file: MappedFile, needed: tuple[str, ...]) -> None:
    """Raise BadInputError where a name that is needed is missing, or a name is not one."""
    for name in needed:
        if name not in file.mapping:
            raise BadInputError(
                field=f"columns of {file.path}",
                value=",".join(f"{ours}={theirs}" for ours, theirs in file.mapping.items()),
                remedy=f"Say which one is the {name}: {name}=COLUMN.",
            )
    for name in file.mapping:
        if not _NAME.fullmatch(name):
            raise BadInputError(
                field=f"columns of {file.path}",
                value=name,
                remedy="Use letters, digits and '_'; add a separator in brackets for a list: genres[|].",
            )
    bare = [name.partition("[")[0] for name in file.mapping]
    if repeated := [name for name in bare if bare.count(name) > 1]:
        raise BadInputError(field=f"columns of {file.path}", value=repeated[0], remedy="Name it once.")


def frames_of(opened: MappedTable, *, typed: bool) -> Frames:
    """Return the rows of an opened file under our names; ids as text unless `typed`."""
    ids = [name for name in ("user", "item") if name in opened.mapping]

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in opened.table.rows(opened.mapping, log):
            shaped = frame.select(LINE, *(_column(name, frame) for name in opened.mapping))
            yield shaped if typed else shaped.with_columns(pl.col(ids).cast(pl.String))

    return start


def _column(name: str, frame: pl.DataFrame) -> pl.Expr:
    """Return a column under its own name; lists split."""
    found = _NAME.fullmatch(name)
    if found is None or found["separator"] is None:
        return pl.col(name)
    if frame.schema[name] != pl.String:
        return pl.col(name).alias(found["name"])
    split = pl.col(name).str.split(found["separator"]).list.eval(pl.element().str.strip_chars())
    return split.list.filter(pl.element() != "").alias(found["name"])


def _first_rows(frames: Frames) -> Frames:
    """Keep the first row of each item; the rows themselves are counted and checked as events."""

    def start(_log: RejectLog) -> Iterator[pl.DataFrame]:
        seen: set[str | int] = set()
        for frame in frames(RejectLog("the same rows again")):
            named = frame.filter(pl.col("item").cast(pl.String).str.strip_chars() != "")
            fresh = named.unique("item", keep="first", maintain_order=True)
            new = fresh.filter(pl.Series([item not in seen for item in fresh["item"]], dtype=pl.Boolean))
            seen.update(new["item"])
            yield new

    return start
