"""Plain sequence tables: sequences.parquet (user, item, pos) and items.parquet (item, title).

`pos` orders a user's events; there are no ratings and no times. In titles, HTML entities are
decoded and "nan", which such tables write for a missing one, is none. An `asin` column is dropped.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from warmprompt.data.readers.columnar import parquet_columns, parquet_rows, require_columns
from warmprompt.data.readers.source import LINE, RejectLog, Source


def recognises(path: Path) -> bool:
    """Tell whether the folder holds both files."""
    return (path / "sequences.parquet").is_file() and (path / "items.parquet").is_file()


def read(path: Path) -> Source:
    """Return the data set of a folder with sequences.parquet and items.parquet."""
    events, items = path / "sequences.parquet", path / "items.parquet"

    def start_events(_log: RejectLog) -> Iterator[pl.DataFrame]:
        rows = pl.concat(parquet_rows(events, columns=("user", "item", "pos")))
        yield rows.sort("user", "pos", maintain_order=True)

    def start_items(_log: RejectLog) -> Iterator[pl.DataFrame]:
        present = parquet_columns(items)
        require_columns(items, present, ("item", "title"))
        columns = [column for column in present if column != "asin"]
        for frame in parquet_rows(items, columns=columns):
            yield frame.with_columns(
                pl.exclude(LINE, "item", "title").cast(pl.String),
                pl.Series("title", map(_title, frame["title"]), dtype=pl.String),
            )

    return Source(
        format="sequences",
        files=(events, items),
        events=start_events,
        items=start_items,
        has_rating=False,
        has_time=False,
        typed_ids=True,
    )


def _title(written: object) -> str | None:
    return None if written is None or written == "nan" else html.unescape(str(written))
