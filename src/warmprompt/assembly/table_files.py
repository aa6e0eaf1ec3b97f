"""Tables written piece by piece: Parquet, CSV, JSON lines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from warmprompt.errors import BadInputError

KINDS = (".parquet", ".csv", ".jsonl")


@contextmanager
def open_writer(path: Path, *, kind: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield what takes frames with the same columns, one after the other; the file is whole at the end.

    Args:
        path: Where to write.
        kind: The name that tells the kind by its end.

    Raises:
        BadInputError: The name ends with none of `KINDS`.
    """
    suffix = kind.suffix.lower()
    if suffix not in KINDS:
        raise BadInputError(field="--out", value=kind, remedy=f"End it with {', '.join(KINDS)}.")
    with ExitStack() as opened:
        if suffix == ".parquet":
            writers: list[pq.ParquetWriter] = []

            def write(frame: pl.DataFrame) -> None:
                table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
                if not writers:
                    writers.append(opened.enter_context(pq.ParquetWriter(path, table.schema)))
                writers[0].write_table(table)
        else:
            file = opened.enter_context(path.open("wb"))

            def write(frame: pl.DataFrame) -> None:
                if suffix == ".csv":
                    frame.write_csv(file, include_header=file.tell() == 0)
                else:
                    frame.write_ndjson(file)

        yield write
