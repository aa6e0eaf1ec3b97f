"""What a reader hands to the importer: streams of plain rows, and a log of the rows that were not.

A reader knows the spelling of one format (files, field names, codes). It checks
no values: empty ids, ratings, times and duplicates are the importer's business,
so every format is held to the same rules.
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


Frames = Callable[[RejectLog], Iterator[pl.DataFrame]]
"""Starts a stream of frames with the named columns and `line`; rows that are no rows go to the log."""

TimeUnit = Literal["s", "ms", "iso"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One data set as its files tell it.

    Attributes:
        format: Name of the format.
        files: Every file that is read, for the manifest.
        events: Columns user, item and, where `has_rating` and `has_time`, rating and time.
        items: Columns item, title and attributes (strings or lists of strings), or None.
        users: Columns user and attributes (strings), or None.
        has_rating, has_time: Whether `events` carries these columns.
        typed_ids: The file says whether an id is text or an integer. Otherwise (text files) ids are
            integers when every one of them is written as one ("7", not "007").
        time_unit: Seconds or milliseconds since 1970 UTC, or ISO 8601 text.
        rating_scale: Lowest and highest possible rating; None takes the lowest and highest seen.
        unrated_items: Whether items without an event are kept. A catalogue that was made for these
            events keeps them; metadata of a whole shop does not.
        expected_rows: Rows that "interactions", "items" or "users" must have, where that is known.
    """

    format: str
    files: tuple[Path, ...]
    events: Frames
    items: Frames | None = None
    users: Frames | None = None
    has_rating: bool = True
    has_time: bool = True
    typed_ids: bool = False
    time_unit: TimeUnit = "s"
    rating_scale: tuple[float, float] | None = None
    unrated_items: bool = True
    expected_rows: Mapping[str, int] = field(default_factory=dict)
