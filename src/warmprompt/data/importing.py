"""Import: one pass over a source in pieces, checked row by row, into tables at rest.

Rules for every format:
- A row is a reject when its user or item id is empty, its rating is not a finite number on the
  scale, or its time is missing (where the source has times), not a number, negative or in the
  future. An empty rating is no reject: the event then has none. Lines that could not be taken
  apart into fields are rejects as well.
- Rejects beyond `max_rejects`, as a share of the rows of any one table, refuse the import.
- A row in which nothing happened (label 0, weight 0, a type of event without a weight) is no
  event and no reject; it is counted.
- Of several events of one user with one item the one with the latest time stays; at equal times,
  or without times, the last in the file. They are counted, and are no rejects; how many there were
  may be kept as a strength.
- A user's events are ordered by time; ties, and events without times, keep the file's order.
- A text of a user is kept up to 5,000 characters; how many were longer is counted.
- An id that comes twice among the items or users keeps its first row. Users without an event are
  left out.
- Ids that a table writes as floats ("24.0") are whole numbers where all ids of the table are.
- Where fewer than half of the events find their item (or user) in the file that describes them, the
  import is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from warmprompt.data.described import Side, read_side
from warmprompt.data.event_rows import EventRows, read_event_rows
from warmprompt.data.feedback import Feedback, num_pushing, settle_ratings, settle_repeats, weight_unit
from warmprompt.data.ids import CODE, IdIndex
from warmprompt.data.joining import refuse_strangers
from warmprompt.data.readers.names import likely_feedback
from warmprompt.data.readers.source import RejectLog, Source
from warmprompt.data.tables import Manifest, Rejected, SourceFile, Tables, check_free, file_hash, write_tables
from warmprompt.data.times import PLAUSIBLE_FROM_S, UNIT_NAMES
from warmprompt.data.understood import Understood
from warmprompt.data.verbalise import taste_column
from warmprompt.errors import BadInputError, IntegrityError, RejectsError
from warmprompt.files import locked_path

DEFAULT_MAX_REJECTS = 0.001
_OLD_SHARE = 0.01
# What to do about the commonest reason, where mending the file is not what comes to mind.
_REMEDIES = {
    "rating is outside": "Name values that mean not rated with --not-rated, or widen --rating-scale.",
    "label is neither": "A label is 0 or 1; map other values as rating or weight.",
    "weight is negative": "A weight is a count or an amount; map values of both signs as rating.",
    "time is in the future": "Say how times are written with --time-unit s, ms, us, ns or iso.",
    "time is not a number": "Say how times are written with --time-unit s, ms, us, ns or iso.",
}


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
        BadInputError: A file cannot be read, a column cannot be what it is said to be, tables do not join,
            no event is left, or another import writes there now.
        IntegrityError: A table has another number of rows than the source is known to have.
        RejectsError: More malformed rows than the share.
        StorageError: The tables could not be written.
    """
    check_free(folder, overwrite=overwrite)
    with locked_path(folder, field="data set", doing="is writing it"):
        tables, manifest = read_source(source, name=name, now_s=now_s, max_rejects=max_rejects)
        return write_tables(folder, tables, manifest, overwrite=overwrite)


def read_source(
    source: Source, *, name: str, now_s: int, max_rejects: float = DEFAULT_MAX_REJECTS
) -> tuple[Tables, Manifest]:
    """Read a source and check it, without writing anything; arguments and errors as `import_source`.

    Returns:
        The tables, and their manifest without hashes, which `write_tables` fills in.
    """
    _check_options(source, max_rejects)
    users, items = IdIndex("user", typed=source.typed_ids), IdIndex("item", typed=source.typed_ids)
    logs = RejectLog("interactions"), RejectLog("items"), RejectLog("users")
    rows = read_event_rows(source, users, items, logs[0], now_s=now_s)
    sides = (
        read_side(source.users, users, logs[2], rated_only=False),
        read_side(source.items, items, logs[1], rated_only=not source.unrated_items),
    )
    for log in logs:
        check_rejects(log, max_rejects)
        _check_rows(log, source.expected_rows)
    rows.frame = rows.frame.with_columns(
        *(side.with_whole_ids(rows.frame[side.ids.name]) for side in sides),
    )
    feedback = settle_ratings(rows.frame, source.rating_scale)
    _refuse_nothing(feedback, rows)
    joined = {side.table: _share_joined(side, feedback, source) for side in sides if side.rows is not None}
    ordered = feedback.events.sort(["user", "time_s"] if source.has_time else ["user"], maintain_order=True)
    events, notes = settle_repeats(ordered, repeats=source.feedback.repeats)
    tables = _tables(events, *sides)
    manifest = Manifest(
        name=name,
        source_format=source.format,
        source_files=tuple(
            SourceFile(name=path.name, num_bytes=path.stat().st_size, sha256=file_hash(path))
            for path in source.files
        ),
        num_users=tables.users.height,
        num_items=tables.items.height,
        num_events=events.height,
        num_rows_read={log.table: log.num_rows for log in logs},
        num_duplicates=ordered.height - events.height,
        num_repeated_ids={side.table: side.num_repeated for side in reversed(sides)},
        num_unrated_left_out=sides[1].num_left_out,
        rejects=tuple(_rejected(log, reason) for log in logs for reason in log.counts),
        rating_scale=feedback.scale,
        content_hash="",
        file_hashes={},
        imported_at_s=now_s,
        weight_unit=weight_unit(events),
        understood=Understood(
            encodings=source.encodings,
            used=source.used,
            unused=source.unused,
            no_events={**rows.no_events, **feedback.no_events},
            num_not_rated=rows.num_not_rated,
            joined=joined,
            time_unit=rows.time_unit,
            notes=(
                *feedback.notes,
                *notes,
                *_notes_of_times(events, rows),
                *_notes_of_texts(events),
                *_notes_of_unused(source),
                *(f"{count:,} x {what}" for log in logs for what, count in log.notes.items()),
            ),
            **_figures(tables, events, feedback, sides[0]),
        ),
    )
    return tables, manifest


def _check_options(source: Source, max_rejects: float) -> None:
    for option, share in (("--max-rejects", max_rejects), ("--min-joined", source.min_joined)):
        if not 0 <= share <= 1:
            raise BadInputError(field=option, value=share, remedy="Give a share between 0 and 1.")
    given = source.feedback
    if given.not_rated and not source.has_rating:
        raise BadInputError(
            field="--not-rated",
            value=",".join(given.not_rated),
            remedy="There is no rating column; leave it out.",
        )
    if given.event_weights is not None and not source.has_event:
        raise BadInputError(
            field="--event-weights",
            value=", ".join(given.event_weights),
            remedy="Say which column holds the types of events: --map event=COLUMN.",
        )


def check_rejects(log: RejectLog, max_rejects: float) -> None:
    """Raise RejectsError where more of a table's rows are malformed than this share; names first lines."""
    if log.num_rejects <= max_rejects * log.num_rows:
        return
    reasons = sorted(log.counts.items(), key=lambda entry: -entry[1])
    given = "; ".join(
        f"{count} x {reason} (line {', '.join(map(str, log.first_lines[reason]))})"
        for reason, count in reasons
    )
    remedy = f"Mend the file, or allow more than {max_rejects:.3%} with --max-rejects."
    special = next((each for start, each in _REMEDIES.items() if reasons[0][0].startswith(start)), None)
    raise RejectsError(
        field=f"{log.table}, {log.num_rejects} of {log.num_rows} rows malformed",
        value=given,
        remedy=f"{remedy} {special}" if special else remedy,
    )


def _check_rows(log: RejectLog, expected: Mapping[str, int]) -> None:
    if expected.get(log.table, log.num_rows) != log.num_rows:
        raise IntegrityError(
            field=f"rows of {log.table}",
            value=log.num_rows,
            remedy=f"Fetch the files again; the published ones have {expected[log.table]}.",
        )


def _refuse_nothing(feedback: Feedback, rows: EventRows) -> None:
    if feedback.events.height:
        return
    nothing = "; ".join(
        f"{count} x {what}" for what, count in {**rows.no_events, **feedback.no_events}.items()
    )
    raise BadInputError(
        field="interactions",
        value=f"no event ({nothing})" if nothing else "no event",
        remedy="Give a file with at least one valid row.",
    )


def _share_joined(side: Side, feedback: Feedback, source: Source) -> float:
    """Return the share of events whose id the other file describes; refuse a low one."""
    assert side.rows is not None
    codes, described, written = feedback.events[side.ids.name], side.rows[CODE], side.ids.written()
    known = codes.is_in(described.implode())
    share = float(known.mean() or 0)  # type: ignore[arg-type]
    refuse_strangers(
        side.ids.name,
        written.gather(codes.filter(~known).unique(maintain_order=True)),
        pl.concat([written.gather(described), side.strangers]),
        share=share,
        least=source.min_joined,
    )
    return share


def _tables(events: pl.DataFrame, users: Side, items: Side) -> Tables:
    """Replace codes by ids, sort by id, and number each user's events; users without events are left out."""
    met = events["item"].unique(maintain_order=True)
    known = met if items.rows is None else pl.concat([met, items.rows[CODE]]).unique(maintain_order=True)
    user_table, item_table = (
        users.table_of(events["user"].unique(maintain_order=True)),
        items.table_of(known),
    )
    if "title" not in item_table.columns:
        item_table = item_table.insert_column(2, pl.Series("title", [""] * item_table.height))
    item_table = item_table.with_columns(pl.col("title").fill_null("").str.strip_chars())
    for name in ("rating", "weight", "text"):
        if name in events.columns and events[name].null_count() == events.height:
            events = events.drop(name)
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


def _figures(tables: Tables, events: pl.DataFrame, feedback: Feedback, users: Side) -> dict[str, Any]:
    """Return the numbers of what was understood."""
    pushing = num_pushing(events, feedback.scale)
    timed = "time_s" in events.columns
    idle = 0 if users.rows is None else int((~users.rows[CODE].is_in(events["user"].implode())).sum())
    return {
        "num_pull": events.height - pushing,
        "num_push": pushing,
        "num_unrated": events["rating"].null_count() if "rating" in events.columns else 0,
        "num_idle_users": idle,
        "first_s": events["time_s"].min() if timed else None,
        "last_s": events["time_s"].max() if timed else None,
        "taste_column": taste_column(tables.items),
    }


def _notes_of_times(events: pl.DataFrame, rows: EventRows) -> list[str]:
    """Tell of times that are hardly when things happened."""
    if "time_s" not in events.columns:
        return []
    share = float((events["time_s"] < PLAUSIBLE_FROM_S).mean() or 0)  # type: ignore[arg-type]
    if share <= _OLD_SHARE:
        return []
    unit = UNIT_NAMES[rows.time_unit or "s"]
    return [
        f"{share:.0%} of times lie before 1990, read as {unit}; say how they are written with --time-unit"
    ]


def _notes_of_texts(events: pl.DataFrame) -> list[str]:
    """Tell of how many events what users wrote is kept."""
    num_texts = events["text"].count() if "text" in events.columns else 0
    return [f"{num_texts:,} events carry a text that the user wrote"] if num_texts else []


def _notes_of_unused(source: Source) -> list[str]:
    """Tell of columns that are likely feedback and were not named."""
    likely = [(name, likely_feedback(name)) for name in source.unused.get("interactions", ())]
    return [
        f"{name} is not used; if it holds what came of an event, add {role}={name} to --map"
        for name, role in likely
        if role is not None and role not in source.used.get("interactions", {})
    ]


def _rejected(log: RejectLog, reason: str) -> Rejected:
    return Rejected(
        table=log.table, reason=reason, count=log.counts[reason], first_lines=tuple(log.first_lines[reason])
    )
