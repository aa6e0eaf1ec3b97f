"""Rows of Parquet files, piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from warmprompt.data.readers.source import LINE
from warmprompt.errors import BadInputError

_BATCH = 1 << 18
_EXACT_FLOAT = 2**53


def parquet_rows(path: Path, *, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield frames of these columns with `line`, the row's number from 1.

    Raises:
        BadInputError: The file is missing, is no Parquet file, is damaged, or lacks a column; or one
            holds neither text, numbers, dates nor lists of those.
    """
    row = 1
    try:
        with pq.ParquetFile(path) as file:
            require_columns(path, file.schema_arrow.names, columns)
            _require_plain(path, file.schema_arrow, columns)
            for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
                frame = pl.from_arrow(batch)
                assert isinstance(frame, pl.DataFrame)
                yield (frame.select(columns).with_row_index(LINE, row).cast({LINE: pl.Int64}))
                row += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(
            field=str(path),
            value=error,
            remedy="Give a whole Parquet file; this one is damaged or another kind.",
        ) from error


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Return the names of a Parquet file's columns.

    Raises:
        BadInputError: As `parquet_rows`.
    """
    try:
        return tuple(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(field=str(path), value=error, remedy="Give a whole Parquet file.") from error


def is_temporal(path: Path, column: str) -> bool:
    """Tell whether a column that is there holds dates or times."""
    return bool(pa.types.is_temporal(pq.read_schema(path).field(column).type))


def whole_ids(ids: pl.Series) -> pl.Series:
    """Return ids that are whole numbers, written as floats or decimals, as integers; others as they are.

    Raises:
        BadInputError: A number that is not whole, or too large for a float to tell from its neighbours.
    """
    if isinstance(ids.dtype, pl.Categorical | pl.Enum | pl.Null):
        return ids.cast(pl.String)
    if not (ids.dtype.is_float() or ids.dtype.is_decimal()):
        return ids
    kind = ids.dtype
    if kind.is_float():
        ids = ids.fill_nan(None)
        wrong = (ids != ids.floor()) | (ids.abs() >= _EXACT_FLOAT)
    else:
        wrong = ids != ids.cast(pl.Int128, strict=False).cast(kind, strict=False)
    if wrong.any():
        raise BadInputError(
            field=f"column {ids.name!r}",
            value=f"{ids.filter(wrong.fill_null(value=False))[0]} as an id",
            remedy="Write ids as text or as integers; floats are exact below 2^53 only.",
        )
    return ids.cast(pl.Int64 if kind.is_float() else pl.Int128)


def require_columns(path: Path, present: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise BadInputError where a wanted column is not present; list those that are."""
    for name in wanted:
        if name not in present:
            raise BadInputError(
                field=f"{path}, column", value=name, remedy=f"Name one of its columns: {', '.join(present)}."
            )


def _require_plain(path: Path, schema: pa.Schema, columns: Sequence[str]) -> None:
    """Raise BadInputError where a column holds bytes, records or lists of lists."""
    for name in columns:
        kind = schema.field(name).type
        element = kind.value_type if _is_list(kind) or pa.types.is_dictionary(kind) else kind
        if pa.types.is_nested(element) or pa.types.is_binary(element) or pa.types.is_large_binary(element):
            raise BadInputError(
                field=f"{path}, column {name!r}",
                value=kind,
                remedy="Give text, numbers or dates in that column, or lists of those.",
            )


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
