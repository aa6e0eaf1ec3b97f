"""What a reader hands to the importer: streams of plain rows, and a log of the rows that were not.

A reader knows the spelling of one format (files, field names, codes). It checks
no values: empty ids, ratings, times and duplicates are the importer's business,
so every format follows the same rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl

# No format and no mapping can give a column this name.
LINE = "#line"
FIRST_LINES = 5


class RejectLog:
    """Counts the malformed rows of one table by reason, with the first line numbers of each."""

    def __init__(self, table: str) -> None:
        self.table = table
        self.num_rows = 0
        self.counts: dict[str, int] = {}
        self.first_lines: dict[str, list[int]] = {}
        self.notes: dict[str, int] = {}

    @property
    def num_rejects(self) -> int:
        """Rows refused so far."""
        return sum(self.counts.values())

    def reject(self, reason: str, lines: Sequence[int]) -> None:
        """Count one row per entry of `lines` (1-based line numbers, or row numbers in Parquet files)."""
        if lines:
            self.num_rows += len(lines)
            self.counts[reason] = self.counts.get(reason, 0) + len(lines)
            first = self.first_lines.setdefault(reason, [])
            first.extend(lines[: FIRST_LINES - len(first)])

    def accept(self, num_rows: int) -> None:
        """Count rows that were kept."""
        self.num_rows += num_rows

    def tell(self, what: str, count: int) -> None:
        """Count what was done to rows that are no rejects, in words ("HTML entities decoded in titles")."""
        if count:
            self.notes[what] = self.notes.get(what, 0) + count


Frames = Callable[[RejectLog], Iterator[pl.DataFrame]]
"""Starts a stream of frames with the named columns and `line`; rows that are no rows go to the log."""

TimeUnit = Literal["s", "ms", "us", "ns", "iso"]
FEEDBACK = ("rating", "label", "weight", "event")
EVENT_COLUMNS = ("user", "item", *FEEDBACK, "time", "text")
Repeats = Literal["last", "count"]


@dataclass(frozen=True, kw_only=True)
class FeedbackOptions:
    """How values are to be read, where the columns alone do not say it.

    Attributes:
        not_rated: Values of the rating column that stand for "not rated": numbers or words.
        event_weights: Weight per type of event; 0 makes a type no event. Needs a column `event`.
        repeats: Of several events of a user with an item, `last` keeps the latest alone, `count` keeps
            how many there were (or the sum of their weights) as a strength. None: `count` with weights,
            else `last`.
    """

    not_rated: tuple[str, ...] = ()
    event_weights: Mapping[str, float] | None = None
    repeats: Repeats | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set as its files tell it.

    Attributes:
        format: Name of the format.
        files: Every file that is read, for the manifest.
        events: Columns user, item and those of `EVENT_COLUMNS` that the source has.
        items: Columns item, title and attributes (strings or lists of strings), or None.
        users: Columns user and attributes (strings), or None.
        has_rating, has_time: Whether `events` carries these columns.
        has_label: Whether it carries `label`: 1 where something happened, 0 where it was only shown.
        has_weight: Whether it carries `weight`: how strong the event is, a count or an amount.
        has_event: Whether it carries `event`: the type of the event, as text.
        has_text: Whether it carries `text`: what the user wrote.
        typed_ids: The file defines whether an id is text or an integer. Otherwise (text files) ids are
            integers when every one of them is written as one ("7", not "007").
        time_unit: Since 1970 UTC, or ISO 8601 text; "dates" where the column's type shows that, and the
            times are seconds already. None has the importer find out.
        rating_scale: Lowest and highest possible rating; None takes the lowest and highest seen.
        feedback: How feedback is to be read where the columns alone do not say it.
        min_joined: Lowest share of events whose item (and user) the other file describes, 0 to 1.
        unrated_items: Whether items without an event are kept. A catalogue that was made for these
            events keeps them; metadata of a whole shop does not.
        used: Per table, our name to the file's column, for the report.
        unused: Per table, the columns of the file that mean nothing here, for the report.
        encodings: File name to how its text is written, in words, for the report; text files only.
        expected_rows: Rows that "interactions", "items" or "users" must have, where that is known.
    """

    format: str
    files: tuple[Path, ...]
    events: Frames
    items: Frames | None = None
    users: Frames | None = None
    has_rating: bool = True
    has_time: bool = True
    has_label: bool = False
    has_weight: bool = False
    has_event: bool = False
    has_text: bool = False
    typed_ids: bool = False
    time_unit: TimeUnit | Literal["dates"] | None = None
    rating_scale: tuple[float, float] | None = None
    feedback: FeedbackOptions = FeedbackOptions()
    min_joined: float = 0.5
    unrated_items: bool = True
    used: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    encodings: Mapping[str, str] = field(default_factory=dict)
    expected_rows: Mapping[str, int] = field(default_factory=dict)
