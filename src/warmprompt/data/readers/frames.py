"""DataFrames as a source: polars, pandas, pyarrow, or whatever streams Arrow; pandas need not be installed.

Columns are named as RecTools names them (`user_id`, `item_id`, `weight`, `datetime`), as files name them
(`user`, `item`, `rating`, `time`), or by the caller. RecTools' long tables of features (`id`, `feature`,
`value`) are understood as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from warmprompt.data.ids import CODE
from warmprompt.data.readers.cleaning import cleaned
from warmprompt.data.readers.columnar import whole_ids
from warmprompt.data.readers.opened import plain_column
from warmprompt.data.readers.source import (
    EVENT_COLUMNS,
    LINE,
    FeedbackOptions,
    Frames,
    RejectLog,
    Source,
    TimeUnit,
)
from warmprompt.errors import BadInputError

ALIASES: Mapping[str, tuple[str, ...]] = {
    "user": ("user_id", "user"),
    "item": ("item_id", "item"),
    "rating": ("rating",),
    "label": ("label",),
    "weight": ("weight",),
    "event": ("event",),
    "time": ("datetime", "timestamp", "time"),
    "text": ("text",),
}
"""Our name to the columns that have this meaning unless the caller maps another; the first one counts."""

_FEATURES = ("id", "feature", "value")


@dataclass(frozen=True, kw_only=True)
class FrameOptions:
    """How values of frames are to be read, where columns alone do not say it.

    Attributes:
        rating_scale: Lowest and highest possible rating; None takes the lowest and highest seen.
        time_unit: How times are written; None has them found out. Columns of dates need none.
        feedback: See `FeedbackOptions`.
    """

    rating_scale: tuple[float, float] | None = None
    time_unit: TimeUnit | None = None
    feedback: FeedbackOptions = field(default_factory=FeedbackOptions)


def frames_source(
    interactions: Any,
    items: Any = None,
    users: Any = None,
    *,
    columns: Mapping[str, str] | None = None,
    options: FrameOptions | None = None,
) -> Source:
    """Return the data set of one to three frames.

    Args:
        interactions: A row per event. Columns that mean nothing here are left alone, and reported.
        items: A row per item with its attributes, `title` among them, or RecTools' long form.
        users: A row per user with attributes, likewise.
        columns: Our name to the frame's column, such as {"user": "uid", "title": "name"}. Names of events
            are those of `ALIASES`; any other renames an attribute of items or users.
        options: How values are to be read.

    Raises:
        BadInputError: Something is no frame, or a column is missing or of a type that cannot be.
    """
    options, columns = options or FrameOptions(), dict(columns or {})
    events = as_frame(interactions, field="interactions")
    sides = {
        name: _wide(as_frame(table, field=f"{name}s"), name)
        for name, table in (("item", items), ("user", users))
        if table is not None
    }
    _check_mapping(columns, {"interactions": events, **{f"{name}s": side for name, side in sides.items()}})
    used = event_columns(events, columns)
    shaped = {name: _described(side, name, columns) for name, side in sides.items()}
    has_dates = "time" in used and events.schema[used["time"]].is_temporal()
    if options.time_unit is not None and (has_dates or "time" not in used):
        what = "the column holds dates already" if has_dates else "there is no column of times"
        raise BadInputError(field="time_unit", value=options.time_unit, remedy=f"Leave it out: {what}.")
    source = Source(
        format="frames",
        files=(),
        events=_once(_plain_events(events, used)),
        items=_once(shaped["item"]) if "item" in shaped else None,
        users=_once(shaped["user"]) if "user" in shaped else None,
        typed_ids=True,
        time_unit="dates" if has_dates else options.time_unit,
        rating_scale=options.rating_scale,
        feedback=options.feedback,
        used={"interactions": used},
        unused={"interactions": tuple(name for name in events.columns if name not in used.values())},
        has_rating="rating" in used,
        has_time="time" in used,
        has_label="label" in used,
        has_weight="weight" in used,
        has_event="event" in used,
        has_text="text" in used,
    )
    return cleaned(source)


def as_frame(table: Any, *, field: str) -> pl.DataFrame:
    """Return any table as a polars DataFrame.

    Args:
        table: A polars, pandas or pyarrow table, or any object that streams Arrow (`__arrow_c_stream__`).
        field: What it is called in errors.

    Raises:
        BadInputError: It is none of these, or holds columns that Arrow cannot hold.
    """
    try:
        if isinstance(table, pl.LazyFrame):
            return table.collect()
        if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
            # An index is a column where it has a name; the usual one only counts rows.
            return pl.from_pandas(table, include_index=any(name is not None for name in table.index.names))
        if isinstance(table, pl.DataFrame) or hasattr(table, "__arrow_c_stream__"):
            return pl.DataFrame(table)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        remedy = "Give each column one type and a name of its own: all text, or all numbers."
        raise BadInputError(field=field, value=error, remedy=remedy) from error
    raise BadInputError(
        field=field,
        value=type(table).__name__,
        remedy="Give a polars, pandas or pyarrow table, or anything that streams Arrow.",
    )


def event_columns(events: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, str]:
    """Return our name to the frame's column for everything that tells of events.

    Raises:
        BadInputError: There is no column of users or of items.
    """
    found = {}
    for ours, aliases in ALIASES.items():
        named = (columns[ours],) if ours in columns else aliases
        present = [name for name in named if name in events.columns]
        if present:
            found[ours] = present[0]
        elif ours in ("user", "item"):
            raise BadInputError(
                field=f"column of {ours}s in interactions",
                value=", ".join(events.columns),
                remedy=f'Name it {ours}_id, or say which one it is: columns={{"{ours}": ...}}.',
            )
    return found


def _check_mapping(columns: Mapping[str, str], frames: Mapping[str, pl.DataFrame]) -> None:
    """Refuse columns that no frame has."""
    for ours, theirs in columns.items():
        if ours in EVENT_COLUMNS and ours not in ("user", "item"):
            asked = {"interactions": frames["interactions"]}
        else:
            asked = dict(frames)
        if not any(theirs in frame.columns for frame in asked.values()):
            there = "; ".join(f"{name}: {', '.join(frame.columns)}" for name, frame in asked.items())
            raise BadInputError(
                field=f"columns, {ours}", value=theirs, remedy=f"Name one that is there ({there})."
            )


def _plain_events(events: pl.DataFrame, used: Mapping[str, str]) -> pl.DataFrame:
    plain = events.select(
        plain_column(ours, theirs, events.schema[theirs]).alias(ours) for ours, theirs in used.items()
    )
    return plain.with_columns(
        whole_ids(events[used[name]]).alias(name) for name in ("user", "item")
    ).with_row_index(LINE, 1)


def _described(side: pl.DataFrame, name: str, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the ids under our name and every other column as an attribute: text, or lists of text."""
    named = (columns[name],) if name in columns and columns[name] in side.columns else ALIASES[name]
    ids = next((each for each in named if each in side.columns), None)
    if ids is None:
        raise BadInputError(
            field=f"column of {name}s in {name}s",
            value=", ".join(side.columns),
            remedy=f'Name it {name}_id, or say which one it is: columns={{"{name}": ...}}.',
        )
    ours = {theirs: each for each, theirs in columns.items() if each not in EVENT_COLUMNS}
    attributes = {each: ours.get(each, each) for each in side.columns if each != ids}
    names = list(attributes.values())
    if wrong := [each for each in names if names.count(each) > 1 or each in (name, LINE, CODE, "")]:
        raise BadInputError(field=f"columns of {name}s", value=wrong[0], remedy="Give it a name of its own.")
    texts = [_as_text(side[theirs]).alias(each) for theirs, each in attributes.items()]
    return pl.DataFrame([whole_ids(side[ids]).alias(name), *texts]).with_row_index(LINE, 1)


def _as_text(values: pl.Series) -> pl.Series:
    """Return text, or lists of text; whole numbers that are kept as floats are written as whole numbers."""
    dtype = values.dtype
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    if inner.is_nested() or inner in (pl.Binary, pl.Object):
        raise BadInputError(
            field=f"column {values.name!r}",
            value=dtype,
            remedy="Give text, numbers or dates in that column, or lists of those.",
        )
    if isinstance(dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    if dtype.is_float():
        values = values.fill_nan(None)
        if values.drop_nulls().is_finite().all() and (values == values.floor()).all():
            values = values.cast(pl.Int64, strict=False)
    return values.cast(pl.String)


def _wide(table: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return RecTools' long table of features as one row per id; any other table as it is."""
    if set(table.columns) != set(_FEATURES):
        return table
    values = table.with_columns(_as_text(table["value"]))
    grouped = values.group_by("id", "feature", maintain_order=True).agg("value")
    wide = grouped.pivot("feature", index="id", values="value", maintain_order=True)
    singles = [each for each in wide.columns[1:] if (wide[each].list.len().fill_null(1) == 1).all()]
    return wide.with_columns(pl.col(singles).list.first()).rename({"id": f"{name}_id"})


def _once(frame: pl.DataFrame) -> Frames:
    def start(_log: RejectLog) -> Iterator[pl.DataFrame]:
        yield frame

    return start
