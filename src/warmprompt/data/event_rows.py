"""Rows of events: checked one by one, numbered, and put together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import polars as pl

from warmprompt.data.feedback import (
    as_label,
    is_not_rated,
    refuse_unknown_types,
    refuse_words,
)
from warmprompt.data.ids import IdIndex
from warmprompt.data.readers.source import LINE, FeedbackOptions, RejectLog, Source, TimeUnit
from warmprompt.data.times import in_seconds, settle_unit
from warmprompt.types import MAX_TEXT

_Unit = TimeUnit | Literal["dates"]
TEXTS_CUT = f"texts of users cut to {MAX_TEXT:,} characters"
"""Note on texts that were longer than an event may carry."""


@dataclass(kw_only=True, eq=False)
class EventRows:
    """Valid events in file order, and what became of the rows that are none.

    Attributes:
        frame: Columns user, item (codes) and those of rating, weight, time_s and text that the source has.
        time_unit: How times were read; None without times.
        no_events: Rows that say that nothing happened, by what they hold.
        num_not_rated: Ratings that stood for "not rated".
    """

    frame: pl.DataFrame
    time_unit: _Unit | None = None
    no_events: dict[str, int] = field(default_factory=dict)
    num_not_rated: int = 0


def read_event_rows(
    source: Source, users: IdIndex, items: IdIndex, log: RejectLog, *, now_s: int
) -> EventRows:
    """Read and check every row of a source's events.

    Args:
        source: What a reader returned.
        users: Where users' ids get their numbers.
        items: Where items' ids do.
        log: Where rejects are counted.
        now_s: Seconds since 1970; later times are rejects.

    Raises:
        BadInputError: Ids, ratings or times of a kind that is not read; types of events without weights.
    """
    options = source.feedback
    rows = EventRows(frame=pl.DataFrame(), time_unit=source.time_unit if source.has_time else None)
    frames: list[pl.DataFrame] = []
    types, no_events = Counter[str](), Counter[str]()
    for raw in source.events(log):
        for ids in (users, items):
            ids.require(raw.schema[ids.name])
        if source.has_rating and not frames:
            refuse_words(raw.filter(~is_not_rated("rating", options.not_rated))["rating"])
        if source.has_time and rows.time_unit is None:
            rows.time_unit = settle_unit(raw["time"], now_s)
        parsed = raw.select(LINE, "user", "item", *_parsed(source, rows.time_unit or "s", options))
        checked = parsed.with_columns(_reason(source, now_s).alias("reason"))
        bad = checked.filter(pl.col("reason").is_not_null())
        for (reason,), group in bad.group_by("reason", maintain_order=True):
            log.reject(str(reason), group[LINE].to_list())
        good = checked.filter(pl.col("reason").is_null())
        log.accept(good.height)
        if source.has_rating:
            rows.num_not_rated += int(good["not_rated"].sum())
        good, nothing = _only_events(good, source, options.event_weights, types)
        no_events += nothing
        columns = [users.codes(good["user"]), items.codes(good["item"])]
        columns += [good[name] for name in ("rating", "weight", "time_s") if name in good.columns]
        if source.has_text:
            log.tell(TEXTS_CUT, int((good["text"].str.len_chars() > MAX_TEXT).sum()))
            columns.append(good["text"].str.slice(0, MAX_TEXT).str.strip_chars_end())
        frames.append(pl.DataFrame(columns))
    if source.has_event and types:
        refuse_unknown_types(types, options.event_weights)
    empty = pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32})
    rows.frame = pl.concat(frames, rechunk=True) if frames else empty
    rows.no_events = dict(no_events.most_common())
    return rows


def _parsed(source: Source, unit: _Unit, options: FeedbackOptions) -> list[pl.Expr]:
    """Return the columns to check: values, and for each whether something was given."""
    columns = []
    if source.has_rating:
        skipped = is_not_rated("rating", options.not_rated)
        number = pl.col("rating").cast(pl.Float64, strict=False).cast(pl.Float32)
        # As they are kept: what is finite here may be infinite there.
        columns += [pl.when(~skipped).then(number).alias("rating")]
        columns += [(_given("rating") & ~skipped).alias("rated"), skipped.alias("not_rated")]
    if source.has_label:
        columns += [as_label("label").alias("label"), _given("label").alias("labelled")]
    if source.has_weight:
        number = pl.col("weight").cast(pl.Float64, strict=False).cast(pl.Float32)
        columns += [number.alias("weight"), _given("weight").alias("weighed")]
    if source.has_event:
        columns += [pl.col("event").cast(pl.String).str.strip_chars().fill_null("").alias("event")]
    if source.has_text:
        columns += [pl.col("text").cast(pl.String).str.strip_chars().replace("", None)]
    if source.has_time:
        columns += [in_seconds("time", unit).alias("time_s"), _given("time").alias("timed")]
    return columns


def _given(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).str.strip_chars().fill_null("") != ""


def _reason(source: Source, now_s: int) -> pl.Expr:
    """Return why a row is refused, null where it is not."""
    checks = [(blank("user"), "user id is empty"), (blank("item"), "item id is empty")]
    if source.has_rating:
        rating, rated = pl.col("rating"), pl.col("rated")
        checks.append((rated & rating.is_null(), "rating is not a number"))
        checks.append((rated & ~rating.is_finite(), "rating is not finite"))
        if source.rating_scale:
            low, high = source.rating_scale
            checks.append((rated & ~rating.is_between(low, high), f"rating is outside {low:g} to {high:g}"))
    if source.has_label:
        checks.append((~pl.col("labelled"), "label is missing"))
        checks.append((pl.col("label").is_null(), "label is neither 0 nor 1"))
    if source.has_weight:
        weight, weighed = pl.col("weight"), pl.col("weighed")
        checks.append((weighed & weight.is_null(), "weight is not a number"))
        checks.append((weighed & ~weight.is_finite(), "weight is not finite"))
        checks.append((weighed & (weight < 0), "weight is negative"))
    if source.has_event:
        checks.append((pl.col("event") == "", "type of event is missing"))
    if source.has_time:
        time, timed = pl.col("time_s"), pl.col("timed")
        checks.append((~timed, "time is missing"))
        checks.append((time.is_null() | ~time.is_finite(), "time is not a number"))
        checks.append((time < 0, "time is negative"))
        checks.append((time > now_s, "time is in the future"))
    return pl.coalesce(*(pl.when(wrong).then(pl.lit(reason)) for wrong, reason in checks))


def blank(column: str) -> pl.Expr:
    """Tell where an id is empty."""
    return pl.col(column).is_null() | (pl.col(column).cast(pl.String).str.strip_chars() == "")


def _only_events(
    rows: pl.DataFrame, source: Source, weights: Mapping[str, float] | None, types: Counter[str]
) -> tuple[pl.DataFrame, Counter[str]]:
    """Return the rows in which something happened, and how many of the others hold what; count all types."""
    nothing: Counter[str] = Counter()
    if source.has_label:
        nothing["label 0"] = int((~rows["label"]).sum())
        rows = rows.filter("label")
    if source.has_weight:
        nothing["weight 0"] = int((rows["weight"] == 0).sum())
        rows = rows.filter(pl.col("weight").is_null() | (pl.col("weight") != 0))
    if source.has_event:
        types.update(dict(rows["event"].value_counts().iter_rows()))
        known = {kind: weight for kind, weight in (weights or {}).items() if weight > 0}
        others = rows.filter(~pl.col("event").is_in(list(known)))["event"].value_counts()
        nothing.update({f"event {kind}": count for kind, count in others.iter_rows()})
        rows = rows.filter(pl.col("event").is_in(list(known)))
        of_type = pl.col("event").replace_strict(known or {"": 1.0}, default=None, return_dtype=pl.Float32)
        amount = pl.col("weight").fill_null(1.0) if source.has_weight else pl.lit(1.0, pl.Float32)
        rows = rows.with_columns((of_type * amount).cast(pl.Float32).alias("weight"))
    if source.has_time:
        rows = rows.with_columns(pl.col("time_s").floor().cast(pl.Int64))
    return rows, +nothing
