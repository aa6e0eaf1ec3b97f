"""What the caller may set for a source, besides where it lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warmprompt.data.readers.cleaning import NULL_VALUES
from warmprompt.data.readers.delimited import TextOptions
from warmprompt.data.readers.source import TimeUnit


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How a source is to be read; every option is used or refused.

    Attributes:
        columns: Our name to the column of the events; known formats need only those that they do not know.
        items, users: Files that describe items and users, instead of the format's own.
        items_columns, users_columns: Our name to the column of those files.
        text: How text files are written.
        time_unit: How times are written; found out otherwise.
        rating_scale: Lowest and highest possible rating.
        null_values: Words that stand for nothing.
    """

    columns: Mapping[str, str] | None = None
    items: Path | None = None
    items_columns: Mapping[str, str] | None = None
    users: Path | None = None
    users_columns: Mapping[str, str] | None = None
    text: TextOptions = field(default_factory=TextOptions)
    time_unit: TimeUnit | None = None
    rating_scale: tuple[float, float] | None = None
    null_values: tuple[str, ...] = NULL_VALUES
