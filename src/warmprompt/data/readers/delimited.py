"""Rows of delimited text: CSV, TSV, and MovieLens' "|" and "::" files, all columns as strings."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from warmprompt.data.readers.lines import TEXT, first_line, numbered_lines
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

_BATCH = 100_000
_FEW, _MANY, _QUOTES = "too few fields", "too many fields", "broken quoting"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        separator: One or more characters between fields.
        header: The first line names the columns.
        quotes: Fields may be quoted as in RFC 4180; needs a separator of one character.
        encoding: A Python codec.
    """

    separator: str
    header: bool = False
    quotes: bool = False
    encoding: str = "utf-8"


CSV = Dialect(separator=",", header=True, quotes=True)


def delimited_rows(
    path: Path, log: RejectLog, *, dialect: Dialect, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Yield frames with `columns` as strings and `line`, the line on which a row begins.

    Blank lines are no rows. A row with another number of fields than `columns` goes to the log, as
    do all lines of a row whose quoting is broken.

    Args:
        path: Text file, plain or gzip.
        log: Where rows that are no rows are counted.
        dialect: How the file is written.
        columns: Names of all fields, in file order.

    Raises:
        BadInputError: The file is missing, empty, binary, or damaged gzip.
    """
    chunks = numbered_lines(path, log, encoding=dialect.encoding)
    for chunk in chunks:
        frame = chunk.filter(pl.col(LINE) > 1) if dialect.header else chunk
        if dialect.quotes and frame[TEXT].str.contains('"', literal=True).any():
            # A quoted field may run over many lines and chunks: from here on one record at a time.
            lines = itertools.chain.from_iterable(
                each.iter_rows() for each in itertools.chain([frame], chunks)
            )
            yield from _quoted_rows(lines, log, dialect.separator, columns)
            return
        yield _plain_rows(frame, log, dialect.separator, columns)


def header_of(path: Path, dialect: Dialect) -> tuple[str, ...]:
    """Return the column names of the file's first line.

    Raises:
        BadInputError: The line cannot be read, or names a column twice or not at all.
    """
    line = first_line(path, encoding=dialect.encoding)
    names = next(csv.reader([line], delimiter=dialect.separator), [])
    if not names or "" in names or len(set(names)) < len(names):
        raise BadInputError(
            field=f"{path}, line 1", value=line, remedy="Name each column once in the first line."
        )
    return tuple(names)


def _plain_rows(frame: pl.DataFrame, log: RejectLog, separator: str, columns: Sequence[str]) -> pl.DataFrame:
    width = len(columns)
    # One part more than there are columns shows whether a row has too many.
    names = [*columns, "\0rest"]
    parts = pl.col(TEXT).str.split_exact(separator, width).struct.rename_fields(names)
    split = frame.filter(pl.col(TEXT) != "").select(LINE, parts.alias("parts")).unnest("parts")
    few, many = pl.col(columns[-1]).is_null(), pl.col("\0rest").is_not_null()
    log.reject(_FEW, split.filter(few)[LINE].to_list())
    log.reject(_MANY, split.filter(many)[LINE].to_list())
    return split.filter(~few & ~many).drop("\0rest")


def _quoted_rows(
    lines: Iterator[tuple[int, str]], log: RejectLog, separator: str, columns: Sequence[str]
) -> Iterator[pl.DataFrame]:
    records = _records(lines, separator)
    schema = {LINE: pl.Int64, **dict.fromkeys(columns, pl.String)}
    while batch := list(itertools.islice(records, _BATCH)):
        rows = []
        for first, last, fields in batch:
            if fields is None or len(fields) != len(columns):
                reason = _QUOTES if fields is None else _FEW if len(fields) < len(columns) else _MANY
                log.reject(reason, range(first, last + 1))
            else:
                rows.append((first, *fields))
        yield pl.DataFrame(rows, schema=schema, orient="row")


def _records(lines: Iterator[tuple[int, str]], separator: str) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield (first line, last line, fields or None if broken) of each record that is not blank."""
    taken: list[int] = []

    def feed() -> Iterator[str]:
        for number, text in lines:
            taken.append(number)
            yield text + "\n"

    reader = csv.reader(feed(), delimiter=separator, strict=True)
    while True:
        taken.clear()
        fields: list[str] | None = None
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            pass
        if fields != []:
            yield taken[0], taken[-1], fields
