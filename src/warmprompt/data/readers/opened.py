"""One opened file of rows: its columns, how it is written, and its rows under the names asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from warmprompt.data.readers.columnar import (
    is_temporal,
    parquet_columns,
    parquet_rows,
    require_columns,
    whole_ids,
)
from warmprompt.data.readers.delimited import TextOptions, open_table
from warmprompt.data.readers.json_lines import (
    first_objects,
    id_column,
    json_objects,
    scalar_text,
    with_plain_ids,
)
from warmprompt.data.readers.lines import TextFile, open_text
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

KINDS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".json": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_SCALARS = {
    "user": "text or integers",
    "item": "text or integers",
    "rating": "numbers",
    "label": "0 and 1",
    "weight": "numbers",
    "event": "text",
    "time": "numbers or dates",
    "text": "text",
    "title": "text",
}
_PARQUET_MAGIC = b"PAR1"
Mapped = Mapping[str, str]
Rows = Callable[[Mapped, RejectLog], Iterator[pl.DataFrame]]


@dataclass(frozen=True, kw_only=True)
class InputTable:
    """A file of rows.

    Attributes:
        path: The file.
        kind: "csv", "tsv", "delimited", "atomic", "jsonl" or "parquet".
        columns: What its header names; in JSON the fields of its first objects.
        rows: Starts a stream of frames with `line` and the columns of a mapping (our name to the
            file's column) under our names.
        typed: The file tells text from integers.
        written: How the text is written, in words; empty for other files.
        dates: Columns that hold dates, not text or numbers.
    """

    path: Path
    kind: str
    columns: tuple[str, ...]
    rows: Rows
    typed: bool = False
    written: str = ""
    dates: frozenset[str] = frozenset()

    def unused(self, *mappings: Mapped) -> tuple[str, ...]:
        """Return the columns that none of the mappings names."""
        used = {column for mapping in mappings for column in mapping.values()}
        return tuple(column for column in self.columns if column not in used)


def open_input(
    path: Path, mapping: Mapped, *, lead: bool = True, options: TextOptions | None = None
) -> InputTable:
    """Open a file of any kind that can be mapped.

    Args:
        path: .csv, .tsv, .jsonl, .json, .ndjson (each also .gz), .parquet; any other suffix is text whose
            kind is found out.
        mapping: Our name to the file's column; each has to be there.
        lead: Whether a separator given has to be this file's.
        options: Options of text files.

    Raises:
        BadInputError: The file cannot be read, a column is missing, or an option is not this file's.
    """
    options = options or TextOptions()
    kind = _kind(path, options)
    if kind == "parquet":
        return _open_parquet(path, mapping)
    if kind == "jsonl":
        return _open_json(path, options)
    by_number = all(column.isdigit() for column in mapping.values())
    if not lead and not options.header and not by_number:
        # Columns that have names have a header.
        options = TextOptions(encoding=options.encoding, separator=options.separator)
    usual = "\t" if kind == "tsv" else ","
    table = open_table(path, tuple(mapping.values()), usual=usual, lead=lead, options=options)

    def rows(mapping: Mapped, log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            yield without_spaces(frame.select(LINE, **mapping), log)

    return InputTable(path=path, kind=kind, columns=table.columns, rows=rows, written=table.said())


def without_spaces(frame: pl.DataFrame, log: RejectLog) -> pl.DataFrame:
    """Return rows of separated text without the spaces around ids, as after "1, 2"; they are counted."""
    for name in ("user", "item"):
        if name in frame.columns:
            bare = frame[name].str.strip_chars()
            log.tell(f"{name} ids taken without the spaces around them", int((bare != frame[name]).sum()))
            frame = frame.with_columns(bare)
    return frame


def _kind(path: Path, options: TextOptions) -> str:
    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    if suffix in KINDS:
        return KINDS[suffix]
    try:
        with path.open("rb") as file:
            head = file.read(len(_PARQUET_MAGIC))
    except OSError as error:
        raise BadInputError(
            field=str(path),
            value=error.strerror or error,
            remedy=f"Give a file that ends with {', '.join(KINDS)}, or another text file.",
        ) from error
    if head == _PARQUET_MAGIC:
        return "parquet"
    return "jsonl" if first_objects(path, encoding=options.encoding) else "delimited"


def _open_parquet(path: Path, mapping: Mapped) -> InputTable:
    columns = parquet_columns(path)
    require_columns(path, columns, tuple(mapping.values()))

    def rows(mapping: Mapped, _log: RejectLog) -> Iterator[pl.DataFrame]:
        ids = {ours: theirs for ours, theirs in mapping.items() if ours in ("user", "item")}
        for frame in parquet_rows(path, columns=tuple(dict.fromkeys(mapping.values()))):
            yield frame.select(
                LINE,
                *(
                    plain_column(ours, theirs, frame.schema[theirs]).alias(ours)
                    for ours, theirs in mapping.items()
                ),
            ).with_columns(*(whole_ids(frame[theirs]).alias(ours) for ours, theirs in ids.items()))

    dates = frozenset(column for column in columns if is_temporal(path, column))
    return InputTable(path=path, kind="parquet", columns=columns, rows=rows, typed=True, dates=dates)


def plain_column(name: str, column: str, dtype: pl.DataType) -> pl.Expr:
    """Return a column with dates as seconds and categories as text; refuse types that cannot be `name`."""
    if isinstance(dtype, pl.Datetime | pl.Date) and name == "time":
        return pl.col(column).cast(pl.Datetime("us")).dt.epoch("us") / 1_000_000
    if isinstance(dtype, pl.Categorical | pl.Enum | pl.Null):
        return pl.col(column).cast(pl.String)
    if name == "label" and dtype == pl.Boolean:
        return pl.col(column).cast(pl.String)
    if name in _SCALARS and not (dtype.is_numeric() or dtype == pl.String):
        raise BadInputError(
            field=f"column {column!r}",
            value=f"{dtype} as {name}",
            remedy=f"Give {_SCALARS[name]} in that column.",
        )
    return pl.col(column)


def _open_json(path: Path, options: TextOptions) -> InputTable:
    text = open_text(path, encoding=options.encoding)
    columns = tuple(
        dict.fromkeys(field for each in first_objects(path, encoding=text.encoding) for field in each)
    )

    def rows(mapping: Mapped, log: RejectLog) -> Iterator[pl.DataFrame]:
        return _json_rows(text, mapping, log)

    return InputTable(
        path=path,
        kind="jsonl",
        columns=columns,
        rows=rows,
        typed=True,
        written=f"{text.encoding}, {text.line_ends}",
    )


def _json_rows(text: TextFile, mapping: Mapped, log: RejectLog) -> Iterator[pl.DataFrame]:
    ids = {name: mapping[name] for name in ("user", "item") if name in mapping}
    missing, present = set(mapping.values()), dict[str, None]()
    for found in json_objects(text, log):
        fields = {field for _, each in found for field in each}
        missing -= fields
        present |= dict.fromkeys(sorted(fields))
        objects = with_plain_ids(found, ids, log)
        columns = [pl.Series(LINE, [line for line, _ in objects], dtype=pl.Int64)]
        for ours, theirs in mapping.items():
            values = [each.get(theirs) for _, each in objects]
            columns.append(id_column(ours, values) if ours in ids else _texts(ours, values))
        yield pl.DataFrame(columns)
    if missing and present:
        raise BadInputError(
            field=f"{text.path}, field",
            value=", ".join(sorted(missing)),
            remedy=f"Name a field that at least one of its objects has: {', '.join(present)}.",
        )


def _texts(name: str, values: list[Any]) -> pl.Series:
    """Return a list column where any value is a list, else text; what can be one value alone is text."""
    if name not in _SCALARS and any(isinstance(value, list) for value in values):
        lists = [
            [text for each in (value if isinstance(value, list) else [value]) if (text := scalar_text(each))]
            for value in values
        ]
        return pl.Series(name, lists, dtype=pl.List(pl.String))
    return pl.Series(name, [scalar_text(value) for value in values], dtype=pl.String)
