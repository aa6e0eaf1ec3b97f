"""Rows of delimited text: CSV, TSV, and MovieLens' "|" and "::" files, all columns as strings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from warmprompt.data.readers.columnar import require_columns
from warmprompt.data.readers.lines import TEXT, TextFile, first_lines, open_text
from warmprompt.data.readers.quoting import Quotes, Record, closes, fields_of, quotes_of, separated
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

_FEW, _MANY, _QUOTES = "too few fields", "too many fields", "broken quoting"
_JOINED = "a quoted field over several lines, in a file whose quotes do not balance"
SEPARATORS = (",", ";", "\t", "|", "::")
_ESCAPES = {r"\t": "\t", "tab": "\t"}
_SAID = {
    "text": "quotes are text",
    "row": "quoted fields",
    "records": "quoted fields, some over several lines",
    "broken": "quotes do not balance",
}
# Excel's first line of a CSV file, which names the separator.
_NAMED = re.compile(r'"?sep=(?P<separator>.)"?')


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """How text files are written, where the caller gives it.

    Attributes:
        encoding: A Python codec; found out otherwise.
        separator: What separates fields; detected otherwise.
        header: Whether the first line names the columns; without it they are called "1", "2" ...
    """

    encoding: str | None = None
    separator: str | None = None
    header: bool = True


@dataclass(frozen=True, kw_only=True)
class Delimited:
    """A delimited file, and how it was found to be written.

    Attributes:
        text: The file, its encoding and line ends.
        separator: One or more characters between fields.
        columns: Names of all fields, in file order.
        num_before: Lines before the first row: the header, or none.
        quotes: What double quotes are in it.
    """

    text: TextFile
    separator: str
    columns: tuple[str, ...]
    num_before: int = 0
    quotes: Quotes = "text"

    def rows(self, log: RejectLog) -> Iterator[pl.DataFrame]:
        """Yield frames with the columns as strings and `line`, the line on which a row begins.

        Blank lines are no rows. A row with another number of fields than there are columns goes to
        the log, as does one whose quoting is broken.

        Raises:
            BadInputError: The file is missing, empty, binary, or damaged gzip.
        """
        chunks = _without_header(self.text.lines(log), self.num_before)
        if self.quotes == "text":
            for chunk in chunks:
                yield _plain_rows(chunk, log, self.separator, self.columns)
            return
        for chunk, records in separated(chunks, self.separator, width=len(self.columns)):
            frames = [_closed_rows(chunk, log, self.separator, self.columns)]
            if records:
                frames.append(self._joined_rows(records, log))
            yield pl.concat(frames).sort(LINE)

    def _joined_rows(self, records: list[Record], log: RejectLog) -> pl.DataFrame:
        rows: list[tuple[int | str, ...]] = []
        for record in records:
            numbers = [number for number, _ in record.lines]
            if record.fields is None:
                log.reject(_QUOTES, numbers)
            elif self.quotes == "broken" and len(numbers) > 1:
                log.reject(_JOINED, numbers)
            else:
                rows.append((numbers[0], *record.fields))
        return _frame(rows, self.columns)

    def said(self) -> str:
        """Return in words how it is written, for the report of an import."""
        separator = separator_text(self.separator)
        quotes = [_SAID[self.quotes]] if self.text.has_quotes else []
        return ", ".join([f"{self.text.encoding}, {self.text.line_ends}, separator {separator}", *quotes])


def open_fields(
    path: Path, columns: Sequence[str], *, separator: str, options: TextOptions | None = None
) -> Delimited:
    """Return a file of a format that has no header and no quoting, such as MovieLens' own.

    Raises:
        BadInputError: As `open_text`, or the separator given is not the file's.
    """
    options = options or TextOptions()
    text = open_text(path, encoding=options.encoding)
    if options.separator is not None:
        first = first_lines(path, encoding=text.encoding)[0]
        given = unescaped(options.separator)
        separator = _one_that_splits(path, first, given, separator)
    return Delimited(text=text, separator=separator, columns=tuple(columns))


def open_table(
    path: Path,
    wanted: Sequence[str] = (),
    *,
    usual: str = ",",
    quotes: bool = True,
    lead: bool = True,
    options: TextOptions | None = None,
) -> Delimited:
    """Return a delimited file whose first line names its columns.

    The separator is the one that lets the header name every column that is wanted: the one given, the
    usual one, or another of `SEPARATORS`.

    Args:
        path: Text file, plain or gzip.
        wanted: Columns that the header has to name.
        usual: The separator that files of this suffix have.
        quotes: Whether fields may be quoted at all.
        lead: Whether a separator given has to be this file's; another file may have its own.
        options: Options of text files.

    Raises:
        BadInputError: As `open_text`; the header names a wanted column twice or not at all, or the
            separator given is not the file's.
    """
    options = options or TextOptions()
    text = open_text(path, encoding=options.encoding)
    lines = first_lines(path, encoding=text.encoding)
    named = _NAMED.fullmatch(lines[0])
    usual = named["separator"] if named else usual
    first = lines[1:2] or [""] if named else lines[:1]
    given = None if options.separator is None else unescaped(options.separator)
    tried = list(dict.fromkeys([given, usual, *SEPARATORS] if given else [usual, *SEPARATORS]))
    headers = {each: _names(first[0], each, header=options.header) for each in tried if each}
    fits = [each for each, names in headers.items() if set(wanted) <= set(names)]
    fits = [each for each in fits if wanted or len(headers[each]) > 1] or [tried[0] or usual]
    separator = fits[0]
    if given is not None and lead and separator != given:
        raise _wrong_separator(path, given, separator)
    if fits_none := not set(wanted) <= set(headers[separator]):
        separator = max(headers, key=lambda each: len(headers[each]))
        if given is not None and len(headers[given]) == 1 < len(headers[separator]):
            raise _wrong_separator(path, given, separator)
    columns = headers[separator]
    if fits_none and options.header and all(name.isdigit() for name in wanted):
        raise BadInputError(
            field=f"{path}, line 1",
            value=first[0],
            remedy=f"It names no column {wanted[0]!r}; if no line names the columns, add --no-header.",
        )
    if repeated := [name for name in columns if columns.count(name) > 1]:
        raise BadInputError(
            field=f"{path}, line {1 + bool(named)}", value=repeated[0], remedy="Name each column once."
        )
    if fits_none:
        _refuse_header(path, columns, wanted, first[0], header=options.header)
    num_before = bool(named) + options.header
    found: Quotes = "text"
    if quotes and text.has_quotes and len(separator) == 1:
        found = quotes_of(
            _without_header(text.lines(RejectLog("quotes")), num_before),
            separator,
            width=len(columns),
            header_quoted=options.header and '"' in first[0] and closes(first[0], separator),
        )
    return Delimited(text=text, separator=separator, columns=columns, num_before=num_before, quotes=found)


def header_names(path: Path, separator: str = ",") -> tuple[str, ...]:
    """Return the column names in the first line of a file, without reading the rest.

    Raises:
        BadInputError: As `open_text`.
    """
    return _names(first_lines(path)[0], separator, header=True)


def unescaped(separator: str) -> str:
    r"""Return a separator as it was meant on a command line: a tab may be written "\t" or "tab".

    Raises:
        BadInputError: It is empty, or a quote or line end.
    """
    meant = _ESCAPES.get(separator, separator)
    if not meant or set(meant) & set('"\r\n'):
        raise BadInputError(
            field="--separator", value=separator, remedy="Give one such as ',', ';', '|', '::' or tab."
        )
    return meant


def separator_text(separator: str) -> str:
    """Return a separator as people write it."""
    return {"\t": "tab", " ": "a space"}.get(separator, repr(separator))


def _without_header(chunks: Iterator[pl.DataFrame], num_before: int) -> Iterator[pl.DataFrame]:
    for chunk in chunks:
        yield chunk.filter(pl.col(LINE) > num_before) if num_before else chunk


def _names(line: str, separator: str, *, header: bool) -> tuple[str, ...]:
    """Return the names in a header; one without a name is called "(column 1)" by its position."""
    fields = None
    if len(separator) == 1 and '"' in line and closes(line, separator):
        fields = fields_of([line], separator)[0]
    fields = fields or line.split(separator)
    if not header:
        return tuple(str(index) for index in range(1, len(fields) + 1))
    return tuple(
        name.strip() if name.strip() not in ("", LINE) else f"(column {index})"
        for index, name in enumerate(fields, start=1)
    )


def _refuse_header(
    path: Path, columns: Sequence[str], wanted: Sequence[str], line: str, *, header: bool
) -> None:
    if not header and not all(name.isdigit() for name in wanted):
        raise BadInputError(
            field="--no-header",
            value=", ".join(wanted),
            remedy=f"Name the columns of {path} by their numbers, 1 to {len(columns)}.",
        )
    if len(columns) == 1:
        raise BadInputError(
            field=f"{path}, line 1",
            value=line,
            remedy=f"Say with --separator what separates its columns ({', '.join(wanted)} are sought).",
        )
    require_columns(path, columns, wanted)


def _one_that_splits(path: Path, line: str, given: str, own: str) -> str:
    if given in line:
        return given
    if own in line:
        raise _wrong_separator(path, given, own)
    return own


def _wrong_separator(path: Path, given: str, found: str) -> BadInputError:
    return BadInputError(
        field="--separator",
        value=separator_text(given).strip("'"),
        remedy=f"Leave it out or give another; {path} looks like {separator_text(found)}.",
    )


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


def _closed_rows(frame: pl.DataFrame, log: RejectLog, separator: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return rows whose quoted fields close in their own line."""
    has_quotes = frame[TEXT].str.contains('"', literal=True)
    plain = _plain_rows(frame.filter(~has_quotes), log, separator, columns)
    quoted = frame.filter(has_quotes)
    if quoted.is_empty():
        return plain
    rows: list[tuple[int | str, ...]] = []
    wrong: dict[str, list[int]] = {_FEW: [], _MANY: [], _QUOTES: []}
    for line, fields in zip(quoted[LINE], fields_of(quoted[TEXT].to_list(), separator), strict=True):
        if fields is None or len(fields) != len(columns):
            wrong[_QUOTES if fields is None else _FEW if len(fields) < len(columns) else _MANY].append(line)
        else:
            rows.append((line, *fields))
    for reason, numbers in wrong.items():
        log.reject(reason, numbers)
    return pl.concat([plain, _frame(rows, columns)])


def _frame(rows: Sequence[tuple[int | str, ...]], columns: Sequence[str]) -> pl.DataFrame:
    schema = {LINE: pl.Int64, **dict.fromkeys(columns, pl.String)}
    return pl.DataFrame(rows, schema=schema, orient="row")
