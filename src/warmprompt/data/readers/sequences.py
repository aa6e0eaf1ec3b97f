"""Plain sequence tables: sequences.parquet (user, item, pos) and items.parquet (item, title).

`pos` orders a user's events; there are no ratings and no times. An `asin` column is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from warmprompt.data.readers.cleaning import cleaned
from warmprompt.data.readers.columnar import parquet_columns, parquet_rows, require_columns
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import LINE, RejectLog, Source


def recognises(path: Path) -> bool:
    """Tell whether the folder holds both files."""
    return (path / "sequences.parquet").is_file() and (path / "items.parquet").is_file()


def read(path: Path, options: ReadOptions | None = None) -> Source:
    """Return the data set of a folder with sequences.parquet and items.parquet."""
    events, items = path / "sequences.parquet", path / "items.parquet"
    present = parquet_columns(items)
    require_columns(items, present, ("item", "title"))

    def start_events(_log: RejectLog) -> Iterator[pl.DataFrame]:
        rows = pl.concat(parquet_rows(events, columns=("user", "item", "pos")))
        yield rows.sort("user", "pos", maintain_order=True)

    def start_items(_log: RejectLog) -> Iterator[pl.DataFrame]:
        columns = [column for column in present if column != "asin"]
        for frame in parquet_rows(items, columns=columns):
            yield frame.with_columns(pl.exclude(LINE, "item").cast(pl.String))

    source = Source(
        format="sequences",
        files=(events, items),
        events=start_events,
        items=start_items,
        has_rating=False,
        has_time=False,
        typed_ids=True,
        used={"interactions": {"user": "user", "item": "item", "order": "pos"}},
        unused={"items": tuple(column for column in present if column == "asin")},
    )
    return cleaned(source, (options or ReadOptions()).null_values)
