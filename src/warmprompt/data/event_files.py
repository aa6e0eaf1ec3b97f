"""Users' events in Parquet files, on a disk or in an object store, as one stream of rows.

A place is a file, a folder, a pattern or a URL that fsspec knows: events/, events/*.parquet, s3://bucket/events.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from warmprompt.data.readers.columnar import whole_ids
from warmprompt.data.readers.frames import ALIASES, FrameOptions, frames_source
from warmprompt.data.readers.source import LINE, RejectLog, Source
from warmprompt.data.times import settle_unit
from warmprompt.errors import BadInputError
from warmprompt.types import short_repr

_BATCH = 1 << 18
_MAGIC = b"PAR1"

KeepUsers = Callable[[pl.Series], pl.Series]
"""Tells for each row's user id whether the row is read."""


@dataclass(frozen=True, kw_only=True)
class EventFile:
    """One file.

    Attributes:
        path: As its file system names it.
        num_rows: Its rows.
        footer_hash: SHA-256 of its footer, which holds the size and the statistics of every column.
    """

    path: str
    num_rows: int
    footer_hash: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True, kw_only=True, eq=False)
class EventFiles:
    """All files of a place, in the order of their paths.

    Attributes:
        file_system: That of fsspec.
        files: What their footers say.
        head: The first rows of the first file.
    """

    file_system: Any
    files: tuple[EventFile, ...]
    head: pl.DataFrame

    __repr__ = short_repr

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(file.num_rows for file in self.files)


def open_place(place: str, *, field: str) -> tuple[Any, str]:
    """Return the file system of a path or URL, and the path in it.

    Raises:
        BadInputError: No file system of that name, or its package is not installed.
    """
    try:
        file_system, path = fsspec.url_to_fs(place)
    except (ValueError, ImportError) as error:
        remedy = f"Give a path, or a URL of a store whose package is installed ({error})."
        raise BadInputError(field=field, value=place, remedy=remedy) from error
    return file_system, path


def open_event_files(place: str) -> EventFiles:
    """Read the footers of all Parquet files of a place.

    Raises:
        BadInputError: There is none, or one is damaged or has other columns than the first.
    """
    file_system, path = open_place(place, field="--users")
    with _readable(place):
        if any(sign in path for sign in "*?["):
            found = file_system.glob(path)
        elif file_system.isdir(path):
            found = file_system.glob(f"{path.rstrip('/')}/*.parquet")
        else:
            found = [path]
    if not found:
        remedy = "Name a Parquet file, a folder of them, or a pattern such as 'events/*.parquet'."
        raise BadInputError(field="--users", value=place, remedy=remedy)
    files, schemas = zip(*(_footer(file_system, each) for each in sorted(found)), strict=True)
    for file, schema in zip(files, schemas, strict=True):
        if not schema.equals(schemas[0]):
            remedy = f"Give all files the columns of {files[0].path}: {', '.join(map(str, schemas[0]))}."
            raise BadInputError(field=f"columns of {file.path}", value=list(map(str, schema)), remedy=remedy)
    head = next(_batches(file_system, files[0], schemas[0].names), None)
    empty = pl.DataFrame(pl.from_arrow(schemas[0].empty_table()))
    return EventFiles(file_system=file_system, files=files, head=empty if head is None else head)


def whole_user_ids(files: EventFiles, column: str) -> bool:
    """Tell whether user ids are whole numbers of 64 bits, by the type of their column."""
    kind = files.head.schema[column]
    return kind.is_float() or (kind.is_integer() and kind not in (pl.UInt64, pl.Int128, pl.UInt128))


def events_of_users(
    files: EventFiles,
    keep: KeepUsers,
    *,
    columns: Mapping[str, str],
    rating_scale: tuple[float, float] | None,
    now_s: int,
) -> Source:
    """Return the rows of some users, read file by file.

    Args:
        files: From `open_event_files`.
        keep: Chooses rows by their user ids.
        columns: Our name to the files' column; others are not read.
        rating_scale: Lowest and highest possible rating, or None.
        now_s: Seconds since 1970; the unit of times is found out from the first rows.

    Raises:
        BadInputError: A name that events do not have, or a column that the files do not have.
    """
    for ours, theirs in columns.items():
        if ours not in ALIASES or theirs not in files.head.columns:
            known = f"Map {', '.join(ALIASES)} to columns that are there: {', '.join(files.head.columns)}."
            raise BadInputError(field="--users-map", value=f"{ours}={theirs}", remedy=known)
    # Under our names, so that no other column is taken for one of ours.
    renamed = [pl.col(theirs).alias(ours) for ours, theirs in columns.items()]
    options = FrameOptions(rating_scale=rating_scale)
    head = frames_source(files.head.select(renamed), options=options)

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        first = 1
        for file in files.files:
            for batch in _batches(files.file_system, file, list(dict.fromkeys(columns.values()))):
                lines = pl.int_range(first, first + batch.height, dtype=pl.Int64, eager=True)
                first += batch.height
                kept = keep(whole_ids(batch[columns["user"]]))
                if kept.any():
                    lines = lines.filter(kept)
                    source = frames_source(batch.filter(kept).select(renamed), options=options)
                    for frame in source.events(log):
                        yield frame.with_columns(lines.gather(frame[LINE] - 1).alias(LINE))

    unit = head.time_unit
    if head.has_time and unit is None:
        unit = settle_unit(files.head[columns["time"]], now_s)
    return replace(head, events=start, time_unit=unit, rating_scale=rating_scale)


def _footer(file_system: Any, path: str) -> tuple[EventFile, pa.Schema]:
    with _readable(path), file_system.open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 8, 0))
        tail = file.read(8)
        if tail[4:] != _MAGIC:
            raise BadInputError(field="--users", value=path, remedy="Give Parquet files; this is none.")
        file.seek(size - 8 - int.from_bytes(tail[:4], "little"))
        footer_hash = hashlib.sha256(file.read()).hexdigest()
        with pq.ParquetFile(file) as opened:
            schema = opened.schema_arrow.remove_metadata()
            return EventFile(path=path, num_rows=opened.metadata.num_rows, footer_hash=footer_hash), schema


def _batches(file_system: Any, file: EventFile, columns: list[str]) -> Iterator[pl.DataFrame]:
    with (
        _readable(file.path),
        file_system.open(file.path, "rb") as opened,
        pq.ParquetFile(opened, pre_buffer=True) as table,
    ):
        for batch in table.iter_batches(batch_size=_BATCH, columns=columns):
            frame = pl.from_arrow(batch)
            assert isinstance(frame, pl.DataFrame)
            yield frame.select(columns)


@contextmanager
def _readable(path: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        remedy = f"Give whole Parquet files that can be read ({' '.join(str(error).split())})."
        raise BadInputError(field="--users", value=path, remedy=remedy) from error
