"""Any CSV, TSV, JSON lines or Parquet file, its columns named by the caller.

A mapping says which of the file's columns is which of ours: {"user": "uid", "item": "sku"}. In the
file of events the names user, item, rating, label, weight, event and time are events; any other name
(title, genres, ...) is an attribute of the item, taken from its first row. A name followed by a separator
in brackets, "genres[|]", is a list written in one text column.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import polars as pl

from warmprompt.data.readers.columnar import (
    is_temporal,
    parquet_columns,
    parquet_rows,
    require_columns,
    whole_ids,
)
from warmprompt.data.readers.delimited import CSV, delimited_rows, header_of
from warmprompt.data.readers.json_lines import first_object, id_column, json_objects, text_of, with_plain_ids
from warmprompt.data.readers.source import EVENT_COLUMNS, LINE, Frames, RejectLog, Source, TimeUnit
from warmprompt.errors import BadInputError

_NAME = re.compile(r"(?P<name>\w+)(\[(?P<separator>.+)\])?")
_KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_SCALARS = {
    "user": "text or integers",
    "item": "text or integers",
    "rating": "numbers",
    "label": "0 and 1",
    "weight": "numbers",
    "event": "text",
    "time": "numbers or dates",
    "title": "text",
}
_TYPED = ("jsonl", "parquet")
_DIALECTS = {"csv": CSV, "tsv": replace(CSV, separator="\t")}
Mapped = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class MappedFile:
    """A file and what its columns are.

    Attributes:
        path: .csv, .tsv, .jsonl, .json, .ndjson (each also .gz) or .parquet.
        mapping: Our name to the file's column.
    """

    path: Path
    mapping: Mapped


def read_mapped(
    events: MappedFile,
    *,
    items: MappedFile | None = None,
    users: MappedFile | None = None,
    time_unit: TimeUnit | None = None,
    rating_scale: tuple[float, float] | None = None,
) -> Source:
    """Return the data set of one to three files.

    Args:
        events: Needs user and item; rating and time are optional.
        items: Needs item; every other name is an attribute. Not together with attributes in `events`.
        users: Needs user; every other name is an attribute.
        time_unit: How times are written; None has the importer find out.
        rating_scale: Lowest and highest possible rating; the ones seen otherwise.

    Raises:
        BadInputError: A file's kind is unknown, a column is missing, or a name is wrong.
    """
    _check(events, ("user", "item"))
    in_events = {name: column for name, column in events.mapping.items() if name in EVENT_COLUMNS}
    inline = {name: column for name, column in events.mapping.items() if name not in EVENT_COLUMNS}
    if inline and items is not None:
        raise BadInputError(
            field="--map",
            value=", ".join(inline),
            remedy="Name item attributes with --items-map, not in both files.",
        )
    for file, name in ((items, "item"), (users, "user")):
        if file is not None:
            _check(file, (name,))
    named = {"interactions": events, "items": items, "users": users}
    tables = {table: file for table, file in named.items() if file is not None}
    files = list(tables.values())
    typed = all(_kind(file.path) in _TYPED for file in files)
    item_frames: Frames | None
    if inline:
        described = replace(events, mapping={"item": in_events["item"], **inline})
        item_frames = _first_rows(_frames(described, typed=typed))
    else:
        item_frames = _frames(items, typed=typed) if items else None
    return Source(
        format=f"mapped {_kind(events.path)}",
        files=tuple(file.path for file in files),
        events=_frames(replace(events, mapping=in_events), typed=typed),
        items=item_frames,
        users=_frames(users, typed=typed) if users else None,
        has_rating="rating" in in_events,
        has_time="time" in in_events,
        has_label="label" in in_events,
        has_weight="weight" in in_events,
        has_event="event" in in_events,
        typed_ids=typed,
        time_unit=_dates_or(time_unit, events),
        used={table: file.mapping for table, file in tables.items()},
        unused={table: _unused(file) for table, file in tables.items()},
        rating_scale=rating_scale,
        # Items of refused events are no items.
        unrated_items=not inline,
    )


def _dates_or(unit: TimeUnit | None, events: MappedFile) -> TimeUnit | Literal["dates"] | None:
    """Return the unit, or "dates" where the column's type says that times are dates already."""
    if "time" not in events.mapping and unit is not None:
        raise BadInputError(
            field="--time-unit", value=unit, remedy="There is no time column; map one with time=COLUMN."
        )
    if _kind(events.path) != "parquet" or "time" not in events.mapping:
        return unit
    if not is_temporal(events.path, events.mapping["time"]):
        return unit
    if unit is not None:
        raise BadInputError(
            field="--time-unit", value=unit, remedy="The column holds dates already; leave it out."
        )
    return "dates"


def _unused(file: MappedFile) -> tuple[str, ...]:
    """Return the file's columns that the mapping does not name."""
    return tuple(name for name in _columns_of(file) if name not in file.mapping.values())


def _columns_of(file: MappedFile) -> tuple[str, ...]:
    kind = _kind(file.path)
    if kind == "jsonl":
        return tuple(map(str, first_object(file.path)))
    return parquet_columns(file.path) if kind == "parquet" else header_of(file.path, _DIALECTS[kind])


def _kind(path: Path) -> str:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix not in _KINDS:
        raise BadInputError(
            field=str(path), value=suffix, remedy=f"Give a file that ends with {', '.join(_KINDS)}."
        )
    return _KINDS[suffix]


def _check(file: MappedFile, needed: tuple[str, ...]) -> None:
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
    kind = _kind(file.path)
    if kind != "jsonl":
        require_columns(file.path, _columns_of(file), tuple(file.mapping.values()))


def _frames(file: MappedFile, *, typed: bool) -> Frames:
    readers: dict[str, Callable[[MappedFile, RejectLog], Iterator[pl.DataFrame]]]
    readers = {"parquet": _from_parquet, "jsonl": _from_json}
    read = readers.get(_kind(file.path), _from_delimited)
    ids = [name for name in ("user", "item") if name in file.mapping]

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in read(file, log):
            shaped = frame.select(LINE, *(_column(name, frame) for name in file.mapping))
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


def _from_delimited(file: MappedFile, log: RejectLog) -> Iterator[pl.DataFrame]:
    dialect = _DIALECTS[_kind(file.path)]
    for frame in delimited_rows(file.path, log, dialect=dialect, columns=header_of(file.path, dialect)):
        yield frame.select(LINE, **file.mapping)


def _from_parquet(file: MappedFile, _log: RejectLog) -> Iterator[pl.DataFrame]:
    ids = {ours: theirs for ours, theirs in file.mapping.items() if ours in ("user", "item")}
    for frame in parquet_rows(file.path, columns=tuple(dict.fromkeys(file.mapping.values()))):
        yield frame.select(
            LINE,
            *(
                plain_column(ours, theirs, frame.schema[theirs]).alias(ours)
                for ours, theirs in file.mapping.items()
            ),
        ).with_columns(*(whole_ids(frame[theirs]).alias(ours) for ours, theirs in ids.items()))


def plain_column(name: str, column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column with dates as seconds and categories as text; refuse types that cannot be `name`."""
    if isinstance(dtype, pl.Datetime | pl.Date) and name == "time":
        return pl.col(column).cast(pl.Datetime("us")).dt.epoch("us") / 1_000_000
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return pl.col(column).cast(pl.String)
    if name == "label" and dtype == pl.Boolean:
        return pl.col(column).cast(pl.String)
    number = dtype.is_numeric()
    if name in _SCALARS and not (number or dtype == pl.String):
        raise BadInputError(
            field=f"column {column!r}",
            value=f"{dtype} as {name}",
            remedy=f"Give {_SCALARS[name]} in that column.",
        )
    return pl.col(column)


def _from_json(file: MappedFile, log: RejectLog) -> Iterator[pl.DataFrame]:
    ids = {name: file.mapping[name] for name in ("user", "item") if name in file.mapping}
    missing: set[str] | None = None
    for found in json_objects(file.path, log):
        missing = set(file.mapping.values()) if missing is None else missing
        missing -= {field for _, each in found for field in each}
        objects = with_plain_ids(found, ids, log)
        columns = [pl.Series(LINE, [line for line, _ in objects], dtype=pl.Int64)]
        for ours, theirs in file.mapping.items():
            values = [each.get(theirs) for _, each in objects]
            columns.append(id_column(ours, values) if ours in ids else _texts(ours, values))
        yield pl.DataFrame(columns)
    if missing:
        raise BadInputError(
            field=f"{file.path}, field",
            value=", ".join(sorted(missing)),
            remedy="Name a field that at least one of its objects has.",
        )


def _texts(name: str, values: list[Any]) -> pl.Series:
    """Return a list column where any value is a list, else text; what can be one value alone is text."""
    if name not in _SCALARS and any(isinstance(value, list) for value in values):
        lists = [
            [text for each in (value if isinstance(value, list) else [value]) if (text := text_of(each))]
            for value in values
        ]
        return pl.Series(name, lists, dtype=pl.List(pl.String))
    return pl.Series(name, [text_of(value) for value in values], dtype=pl.String)
