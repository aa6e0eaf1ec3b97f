"""Double quotes in delimited text: whether they are rules or text, and rows that span several lines.

In most files a field that holds the separator is in quotes (RFC 4180). In others nothing is ever
quoted, and a title that begins with a quote ('"Heroes') would swallow the rows below it, up to the
next quote. So a file is looked through before it is read:

- "row": every quoted field closes in its own row. Quotes are rules.
- "text": one does not, and the file is not separated by commas. Quotes are characters like others.
- "records": one does not, the file is separated by commas (or quotes its header), and each such field
  closes properly in a later line. Quotes are rules, and fields hold line breaks.
- "broken": as before, but some field does not close properly. Rows that close are read; any other is
  a reject, and never joined with the next.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from warmprompt.data.readers.lines import TEXT
from warmprompt.data.readers.source import LINE

Quotes = Literal["text", "row", "records", "broken"]
_QUOTED = r'"(?:[^"]|"")*"'
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Record:
    """A row that does not close its quoted fields in its own line.

    Attributes:
        lines: Numbers and texts of the lines that it takes up; one where it is broken.
        fields: Its fields, or None where its quoting is broken.
    """

    lines: list[tuple[int, str]]
    fields: list[str] | None


def quotes_of(chunks: Iterable[pl.DataFrame], separator: str, *, width: int, header_quoted: bool) -> Quotes:
    """Return what quotes are in a file, from its rows; see the module's docstring.

    Args:
        chunks: Lines, as `numbered_lines` yields them, without the header.
        separator: One character.
        width: Number of columns.
        header_quoted: Whether the header quotes any name, so that quotes are rules for certain.
    """
    joined = False
    for _, records in separated(chunks, separator, width=width):
        for record in records:
            if separator != "," and not header_quoted:
                return "text"
            if record.fields is None:
                return "broken"
            joined = joined or len(record.lines) > 1
    return "records" if joined else "row"


def separated(
    chunks: Iterable[pl.DataFrame], separator: str, *, width: int
) -> Iterator[tuple[pl.DataFrame, list[Record]]]:
    """Yield the rows that close in their own line, and the records that do not.

    A record is broken where its quoting is, where it spans lines without having `width` fields, and
    where each of its lines looks like a row by itself. The line after a broken one begins a new row.

    Args:
        chunks: Lines, as `numbered_lines` yields them.
        separator: One character.
        width: Number of columns.
    """
    rest: pl.DataFrame | None = None
    pending = iter(chunks)
    while True:
        more = next(pending, None)
        if more is None and rest is None:
            return
        chunk = pl.concat([each for each in (rest, more) if each is not None])
        rest = None
        is_open = _open_rows(chunk, separator)
        if not is_open.any():
            yield chunk, []
            continue
        taken = np.zeros(chunk.height, dtype=bool)
        lines = chunk.select(LINE, TEXT).rows()
        records: list[Record] = []
        for index in np.flatnonzero(is_open).tolist():
            if taken[index]:
                continue
            record = _record(lines, index, separator, width, at_end=more is None)
            if record is None:
                # It runs on into the next chunk.
                rest = chunk[index:]
                taken[index:] = True
                break
            taken[index : index + len(record.lines)] = True
            records.append(record)
        yield chunk.filter(pl.Series(~taken)), records


def fields_of(texts: Sequence[str], separator: str) -> list[list[str] | None]:
    """Return the fields of rows that close in their own line, None where one is beyond 131,072 characters."""
    try:
        return list(csv.reader(texts, delimiter=separator, strict=True))
    except csv.Error:
        return [_fields_of_one(text, separator) for text in texts]


def _fields_of_one(text: str, separator: str) -> list[str] | None:
    try:
        return next(csv.reader([text], delimiter=separator, strict=True))
    except csv.Error:
        return None


def closes(text: str, separator: str) -> bool:
    """Tell whether every quoted field of a line closes in it."""
    return re.fullmatch(_closed(separator), text) is not None


def _closed(separator: str, quoted: str = _QUOTED) -> str:
    sep = re.escape(separator)
    field = rf'(?:{quoted}|[^"{sep}][^{sep}]*|)'
    return rf"{field}(?:{sep}{field})*"


def _open_rows(chunk: pl.DataFrame, separator: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Tell which lines leave a quoted field open, or close it in the middle of a field."""
    quoted = chunk[TEXT].str.contains('"', literal=True)
    if not quoted.any():
        return np.zeros(chunk.height, dtype=bool)
    return (quoted & ~chunk[TEXT].str.contains(f"^{_closed(separator)}$")).to_numpy()


def _record(
    lines: Sequence[tuple[int, str]], start: int, separator: str, width: int, *, at_end: bool
) -> Record | None:
    """Return the record that begins with a line that is open, None where it needs lines that are not here."""
    first = lines[start]
    if fields := _in_one_line(first[1], separator, width):
        return Record([first], fields)
    feed = _Feed(lines, start)
    try:
        found = next(csv.reader(feed, delimiter=separator, strict=True))
    except csv.Error:
        return None if feed.is_spent and not at_end else Record([first], None)
    spanned = list(lines[start : feed.index])
    if len(found) != width or _is_swallowed([text for _, text in spanned], separator, width):
        return Record([first], None)
    return Record(spanned, found)


class _Feed:
    """Lines for the csv module, and how far it has come."""

    def __init__(self, lines: Sequence[tuple[int, str]], start: int) -> None:
        self._lines = lines
        self.index = start
        self.is_spent = False

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.index == len(self._lines):
            self.is_spent = True
            raise StopIteration
        self.index += 1
        return self._lines[self.index - 1][1] + "\n"


def _in_one_line(text: str, separator: str, width: int) -> list[str] | None:
    r"""Return the fields of a line that writes a quote within quotes as \" or as it is, else None."""
    if '\\"' in text and re.fullmatch(_closed(separator, r'"(?:[^"\\]|\\.)*+"'), text):
        fields = next(csv.reader([text], delimiter=separator, escapechar="\\", strict=True))
        return fields if len(fields) == width else None
    fields = text.split(separator)
    # A field that is left open makes the number of quotes odd.
    if len(fields) != width or text.count('"') % 2:
        return None
    num_quoted = sum(_is_quoted(field) for field in fields)
    return [_unquoted(field, others=num_quoted > 1) for field in fields]


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field.startswith('"') and field.endswith('"')


def _unquoted(field: str, *, others: bool) -> str:
    """Return a field without the quotes around it; '"Heroes" and "Low"' has none, unless others have."""
    if _is_quoted(field) and (others or re.fullmatch(_QUOTED, field)):
        return field[1:-1].replace('""', '"')
    return field


def _is_swallowed(texts: Sequence[str], separator: str, width: int) -> bool:
    """Tell whether each line looks like a row by itself: full width, and numbers or ids in like columns."""
    if len(texts) < 2 or any(text.count(separator) != width - 1 for text in texts):
        return False
    columns = list(zip(*(text.split(separator) for text in texts), strict=True))
    if any(all(_NUMBER.fullmatch(value) for value in column) for column in columns):
        return True
    kinds = {_kind(value) for value in columns[0]}
    return len(kinds) == 1 and kinds != {(False, False, False)}


def _kind(value: str) -> tuple[bool, bool, bool]:
    """Return whether it has digits, letters, and spaces."""
    return (
        any(each.isdigit() for each in value),
        any(each.isalpha() for each in value),
        any(each.isspace() for each in value),
    )
