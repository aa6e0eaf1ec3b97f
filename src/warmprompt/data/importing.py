"""Import: one pass over a source in pieces, checked row by row, into tables at rest.

Rules every format is held to:
- A row is a reject when its user or item id is empty, its rating is not a finite number on the
  scale, or its time is missing (where the source has times), not a number, negative or in the
  future. An empty rating is no reject: the event then has none. Lines that could not be taken
  apart into fields are rejects as well.
- Rejects beyond `max_rejects`, as a share of the rows of any one table, refuse the import.
- Of several events of one user with one item the one with the latest time stays; at equal times,
  or without times, the last in the file. They are counted, and are no rejects.
- A user's events are ordered by time; ties, and events without times, keep the file's order.
- An id that comes twice among the items or users keeps its first row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from warmprompt.data.ids import CODE, IdIndex
from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source
from warmprompt.data.tables import (
    Manifest,
    Rejected,
    SourceFile,
    Tables,
    check_free,
    file_hash,
    write_tables,
)
from warmprompt.errors import BadInputError, IntegrityError, RejectsError
from warmprompt.files import locked_place

DEFAULT_MAX_REJECTS = 0.001


def import_source(
    source: Source,
    folder: Path,
    *,
    name: str,
    now_s: int,
    max_rejects: float = DEFAULT_MAX_REJECTS,
    overwrite: bool = False,
) -> Manifest:
    """Read a source, check it, and write it as tables under `folder`.

    Args:
        source: What a reader returned.
        folder: Where the tables will lie.
        name: How the data set is called.
        now_s: The present, seconds since 1970 UTC; later events are rejects.
        max_rejects: Highest share of malformed rows in each table, 0 to 1.
        overwrite: Replace a data set that lies there.

    Returns:
        The manifest as written.

    Raises:
        BadInputError: A file cannot be read, no event is left, or another import writes there now.
        IntegrityError: A table has another number of rows than the source is known to have.
        RejectsError: More malformed rows than the share.
        StorageError: The tables could not be written.
    """
    check_free(folder, overwrite=overwrite)
    with locked_place(folder, field="data set", doing="is writing it"):
        tables, manifest = read_source(source, name=name, now_s=now_s, max_rejects=max_rejects)
        return write_tables(folder, tables, manifest, overwrite=overwrite)


def read_source(
    source: Source, *, name: str, now_s: int, max_rejects: float = DEFAULT_MAX_REJECTS
) -> tuple[Tables, Manifest]:
    """Read a source and check it, without writing anything; arguments and errors as `import_source`.

    Returns:
        The tables, and their manifest without hashes and numbers of rows, which `write_tables` fills in.
    """
    if not 0 <= max_rejects <= 1:
        raise BadInputError(field="--max-rejects", value=max_rejects, remedy="Give a share between 0 and 1.")
    users, items = IdIndex("user", typed=source.typed_ids), IdIndex("item", typed=source.typed_ids)
    logs = RejectLog("interactions"), RejectLog("items"), RejectLog("users")
    events = _read_events(source, users, items, logs[0], now_s)
    item_side = _read_side(source.items, items, logs[1], rated_only=not source.unrated_items)
    user_side = _read_side(source.users, users, logs[2], rated_only=False)
    for log in logs:
        _check_rejects(log, max_rejects)
        _check_rows(log, source.expected_rows)
    if events.is_empty():
        raise BadInputError(
            field="interactions", value="no event", remedy="Give a file with at least one valid row."
        )
    num_read, scale = events.height, _rating_scale(events, source)
    events = _ordered(events, source)
    tables = _tables(events, user_side, item_side)
    manifest = Manifest(
        name=name,
        source_format=source.format,
        source_files=tuple(
            SourceFile(name=path.name, num_bytes=path.stat().st_size, sha256=file_hash(path))
            for path in source.files
        ),
        num_users=0,
        num_items=0,
        num_events=0,
        num_rows_read={log.table: log.num_rows for log in logs},
        num_duplicates=num_read - events.height,
        num_repeated_ids={"items": item_side.num_repeated, "users": user_side.num_repeated},
        num_unrated_left_out=item_side.num_left_out,
        rejects=tuple(_rejected(log, reason) for log in logs for reason in log.counts),
        rating_scale=scale,
        content_hash="",
        file_hashes={},
        imported_at_s=now_s,
    )
    return tables, manifest


@dataclass(frozen=True, eq=False)
class _Side:
    """Ids of users or items, and the rows that describe them: column `CODE` and attributes."""

    ids: IdIndex
    rows: pl.DataFrame | None
    num_repeated: int = 0
    num_left_out: int = 0


def _read_events(source: Source, users: IdIndex, items: IdIndex, log: RejectLog, now_s: int) -> pl.DataFrame:
    """Return valid events in file order: user, item (codes), rating, time_s."""
    frames = []
    for raw in source.events(log):
        for ids in (users, items):
            ids.require(raw.schema[ids.name])
        checked = raw.select(LINE, "user", "item", *_parsed(source)).with_columns(
            _reason(source, now_s).alias("reason")
        )
        bad = checked.filter(pl.col("reason").is_not_null())
        for (reason,), rows in bad.group_by("reason", maintain_order=True):
            log.reject(str(reason), rows[LINE].to_list())
        good = checked.filter(pl.col("reason").is_null())
        log.accept(good.height)
        columns = [users.codes(good["user"]), items.codes(good["item"])]
        columns += [good["rating"]] if source.has_rating else []
        columns += [good["time_s"].floor().cast(pl.Int64)] if source.has_time else []
        frames.append(pl.DataFrame(columns))
    if not frames:
        return pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32})
    return pl.concat(frames, rechunk=True)


def _parsed(source: Source) -> list[pl.Expr]:
    columns = []
    if source.has_rating:
        given = pl.col("rating").cast(pl.String).fill_null("") != ""
        # As they are kept: what is finite here may be infinite there.
        columns += [pl.col("rating").cast(pl.Float64, strict=False).cast(pl.Float32), given.alias("rated")]
    if source.has_time:
        given = pl.col("time").cast(pl.String).fill_null("") != ""
        if source.time_unit == "iso":
            seconds = _iso_seconds(pl.col("time").cast(pl.String))
        else:
            seconds = pl.col("time").cast(pl.Float64, strict=False) / (
                1000 if source.time_unit == "ms" else 1
            )
        columns += [seconds.alias("time_s"), given.alias("timed")]
    return columns


def _iso_seconds(text: pl.Expr) -> pl.Expr:
    """Return seconds since 1970 of ISO 8601 days and times; without an offset they are UTC."""
    plain = text.str.replace(r"^(\d{4}-\d\d-\d\d) ", "${1}T").str.replace(r"Z$", "+00:00")
    moments = (
        plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us").dt.epoch("us"),
        plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us").dt.epoch("us"),
        plain.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.epoch("us"),
    )
    return pl.coalesce(moments) / 1_000_000


def _reason(source: Source, now_s: int) -> pl.Expr:
    """Return why a row is refused, null where it is not."""
    checks = [(_blank("user"), "user id is empty"), (_blank("item"), "item id is empty")]
    if source.has_rating:
        rating, rated = pl.col("rating"), pl.col("rated")
        checks.append((rated & rating.is_null(), "rating is not a number"))
        checks.append((rated & ~rating.is_finite(), "rating is not finite"))
        if source.rating_scale:
            low, high = source.rating_scale
            checks.append((rated & ~rating.is_between(low, high), f"rating is outside {low:g} to {high:g}"))
    if source.has_time:
        time, timed = pl.col("time_s"), pl.col("timed")
        checks.append((~timed, "time is missing"))
        checks.append((time.is_null() | ~time.is_finite(), "time is not a number"))
        checks.append((time < 0, "time is negative"))
        checks.append((time > now_s, "time is in the future"))
    return pl.coalesce(*(pl.when(wrong).then(pl.lit(reason)) for wrong, reason in checks))


def _blank(column: str) -> pl.Expr:
    return pl.col(column).is_null() | (pl.col(column).cast(pl.String).str.strip_chars() == "")


def _read_side(frames: Frames | None, ids: IdIndex, log: RejectLog, *, rated_only: bool) -> _Side:
    """Read the rows that describe users or items."""
    rows, left_out = [], 0
    for raw in frames(log) if frames else ():
        ids.require(raw.schema[ids.name])
        log.reject(f"{ids.name} id is empty", raw.filter(_blank(ids.name))[LINE].to_list())
        good = raw.filter(~_blank(ids.name))
        log.accept(good.height)
        if rated_only:
            known = good.filter(ids.knows(good[ids.name]))
            left_out, good = left_out + good.height - known.height, known
        rows.append(good.drop(LINE, ids.name).insert_column(0, ids.codes(good[ids.name]).alias(CODE)))
    if not rows:
        return _Side(ids=ids, rows=None)
    table = pl.concat(_as_attributes(rows, lists=ids.name == "item"), how="diagonal")
    first = table.unique(CODE, keep="first", maintain_order=True)
    return _Side(ids=ids, rows=first, num_repeated=table.height - first.height, num_left_out=left_out)


def _as_attributes(frames: list[pl.DataFrame], *, lists: bool) -> list[pl.DataFrame]:
    """Give attributes one type in all frames: text, or lists of text where any frame has lists.

    What is not known is null, whichever way the source writes it. Without `lists`, lists become
    text, joined by commas.
    """
    plural = {name for frame in frames for name, dtype in frame.schema.items() if dtype == pl.List}

    def shaped(name: str, dtype: pl.DataType) -> pl.Expr:
        if dtype == pl.List:
            texts = pl.col(name).cast(pl.List(pl.String))
            return texts if lists else texts.list.join(", ")
        text = pl.col(name).cast(pl.String).replace("", None)
        return pl.when(text.is_not_null()).then(pl.concat_list(text)) if lists and name in plural else text

    return [
        frame.select(CODE, *(shaped(name, dtype) for name, dtype in frame.schema.items() if name != CODE))
        for frame in frames
    ]


def _check_rejects(log: RejectLog, max_rejects: float) -> None:
    if log.num_rejects > max_rejects * log.num_rows:
        told = "; ".join(
            f"{count} x {reason} (line {', '.join(map(str, log.first_lines[reason]))})"
            for reason, count in sorted(log.counts.items(), key=lambda entry: -entry[1])
        )
        raise RejectsError(
            field=f"{log.table}, {log.num_rejects} of {log.num_rows} rows malformed",
            value=told,
            remedy=f"Mend the file, or allow more than {max_rejects:.3%} with --max-rejects.",
        )


def _check_rows(log: RejectLog, expected: Mapping[str, int]) -> None:
    if expected.get(log.table, log.num_rows) != log.num_rows:
        raise IntegrityError(
            field=f"rows of {log.table}",
            value=log.num_rows,
            remedy=f"Fetch the files again; the published ones have {expected[log.table]}.",
        )


def _rating_scale(events: pl.DataFrame, source: Source) -> tuple[float, float] | None:
    if "rating" not in events.columns or events["rating"].null_count() == events.height:
        return None
    if source.rating_scale is not None:
        return source.rating_scale
    low, high = events.select(pl.col("rating").min().alias("low"), pl.col("rating").max().alias("high")).row(
        0
    )
    return float(low), float(high)


def _ordered(events: pl.DataFrame, source: Source) -> pl.DataFrame:
    """Order each user's events and keep the latest of each (user, item)."""
    keys = ["user", "time_s"] if source.has_time else ["user"]
    ordered = events.sort(keys, maintain_order=True)
    return ordered.unique(["user", "item"], keep="last", maintain_order=True)


def _tables(events: pl.DataFrame, users: _Side, items: _Side) -> Tables:
    """Replace codes by ids, sort by id, and number each user's events."""
    user_table, item_table = _described(users), _described(items)
    if "title" not in item_table.columns:
        item_table = item_table.insert_column(2, pl.Series("title", [""] * item_table.height))
    item_table = item_table.with_columns(pl.col("title").fill_null("").str.strip_chars())
    if "rating" in events.columns and events["rating"].null_count() == events.height:
        events = events.drop("rating")
    rank = pl.int_range(user_table.height, dtype=pl.Int32, eager=True)
    events = events.with_columns(pl.col("user").replace_strict(user_table[CODE], rank, return_dtype=pl.Int32))
    events = events.sort("user", maintain_order=True)
    lead = [
        user_table["user"].gather(events["user"]),
        events["item"].replace_strict(item_table[CODE], item_table["item"]).alias("item"),
        events.select(order=pl.int_range(pl.len(), dtype=pl.Int32).over("user"))["order"],
    ]
    return Tables(
        interactions=pl.DataFrame(lead).hstack(events.drop("user", "item")),
        items=item_table.drop(CODE),
        users=user_table.drop(CODE),
    )


def _described(side: _Side) -> pl.DataFrame:
    """Return `CODE`, id and attributes, sorted by id."""
    table = side.ids.table()
    if side.rows is not None:
        table = table.join(side.rows, on=CODE, how="left", maintain_order="left")
    return table.sort(side.ids.name)


def _rejected(log: RejectLog, reason: str) -> Rejected:
    return Rejected(
        table=log.table, reason=reason, count=log.counts[reason], first_lines=tuple(log.first_lines[reason])
    )
