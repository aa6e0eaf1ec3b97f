"""Text files as a stream of numbered lines, in pieces that fit in memory; gzip is read as it is."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import polars as pl

from warmprompt.data.readers.encodings import ByteClues, encoding_of_head, encoding_of_text, is_line_safe
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

TEXT = "text"
CHUNK_BYTES = 1 << 24
_PEEK_BYTES = 1 << 16
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class TextFile:
    """A text file, and how it was found to be written.

    Attributes:
        path: The file, plain or gzip.
        encoding: A Python codec.
        line_ends: "LF", "CRLF", "CR" or "mixed"; all are read the same way.
        has_quotes: Whether a double quote is anywhere in it.
    """

    path: Path
    encoding: str
    line_ends: str
    has_quotes: bool

    def lines(self, log: RejectLog) -> Iterator[pl.DataFrame]:
        """Yield its lines as `numbered_lines` does."""
        return numbered_lines(self.path, log, encoding=self.encoding)


def open_text(path: Path, *, encoding: str | None = None) -> TextFile:
    """Read a text file once and return how it is written.

    Args:
        path: Plain or gzip.
        encoding: A Python codec; None finds out (UTF-8, else Latin-1 or Windows-1252).

    Raises:
        BadInputError: The file is missing, empty, binary or damaged gzip, or its encoding is not the
            one given, or cannot be found out.
    """
    head = encoding_of_head(path, _head(path), encoding)
    ends: Counter[str] = Counter()
    evidence, quotes = ByteClues(), False
    for block in _blocks(path, CHUNK_BYTES, head or "utf-8", ends):
        evidence.add(block)
        quotes = quotes or b'"' in block
    if head is None or (encoding is not None and is_line_safe(head)):
        head = encoding_of_text(path, evidence, head)
    kinds = [kind for kind, count in ends.items() if count]
    return TextFile(
        path=path,
        encoding=head,
        line_ends="mixed" if len(kinds) > 1 else "".join(kinds) or "LF",
        has_quotes=quotes,
    )


def numbered_lines(
    path: Path, log: RejectLog, *, encoding: str = "utf-8", chunk_bytes: int = CHUNK_BYTES
) -> Iterator[pl.DataFrame]:
    """Yield frames (line, text) that together hold every line of the file, blank ones included.

    Line ends are stripped (LF, CRLF or CR), as is a byte order mark. Lines that are not text in the
    given encoding or hold NUL bytes go to the log.

    Args:
        path: A text file, plain or gzip (recognised by its first two bytes).
        log: Where undecodable lines are counted.
        encoding: A Python codec.
        chunk_bytes: Size of the pieces; a line longer than that is kept whole.

    Raises:
        BadInputError: The file is missing, empty, binary, or damaged gzip.
    """
    next_line = 1
    kept_as = encoding if is_line_safe(encoding) else "utf-8"
    for block in _blocks(path, chunk_bytes, encoding, Counter()):
        texts = _decoded(block, kept_as)
        numbers = pl.int_range(next_line, next_line + len(texts), dtype=pl.Int64, eager=True)
        frame = pl.DataFrame({LINE: numbers, TEXT: texts})
        next_line += len(texts)
        broken = frame.filter(pl.col(TEXT).is_null())
        if broken.height:
            log.reject(f"not {encoding} text", broken[LINE].to_list())
            frame = frame.filter(pl.col(TEXT).is_not_null())
        yield frame


def first_lines(path: Path, *, encoding: str | None = None) -> list[str]:
    """Return the lines of the first 64 kB of a file without their ends; at least one.

    Without an encoding these lines alone decide which one is tried.

    Raises:
        BadInputError: As `numbered_lines`, or the first line is not text.
    """
    encoding = encoding or encoding_of_head(path, _head(path), None)
    if encoding is None:
        evidence = ByteClues()
        evidence.add(next(_blocks(path, _PEEK_BYTES, "utf-8", Counter())))
        encoding = evidence.found() or "utf-8"
    frame = next(numbered_lines(path, RejectLog("peek"), encoding=encoding, chunk_bytes=_PEEK_BYTES))
    if frame.is_empty() or frame[LINE][0] != 1:
        raise BadInputError(field=str(path), value="line 1", remedy=f"Give a text file in {encoding}.")
    return frame[TEXT].to_list()


def _head(path: Path) -> bytes:
    head = next(_pieces(path, 8192), b"")
    if head.startswith(_ZIP_MAGIC):
        raise BadInputError(
            field=str(path), value="a zip archive or a workbook", remedy="Unpack it, or save it as .csv."
        )
    return head


def _pieces(path: Path, num_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of the file, unpacked."""
    try:
        with _open(path) as file:
            while piece := file.read(num_bytes):
                yield piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(
            field=str(path), value=f"damaged gzip: {error}", remedy="Fetch the file again; it was cut short."
        ) from error
    except OSError as error:
        raise BadInputError(
            field=str(path), value=error.strerror or error, remedy="Give a readable file."
        ) from error


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _blocks(path: Path, chunk_bytes: int, encoding: str, ends: Counter[str]) -> Iterator[bytes]:
    """Yield pieces of the file that end at line ends, with LF alone as line end; count those it had."""
    pieces = _pieces(path, chunk_bytes)
    if not is_line_safe(encoding):
        pieces = _as_utf8(pieces, path, encoding)
    rest: list[bytes] = []
    start = empty = True
    for piece in _with_line_feeds(pieces, ends):
        if start:
            if b"\0" in piece[:8192]:
                raise BadInputError(
                    field=str(path), value="binary data", remedy="Give a text file or a gzip of one."
                )
            start = False
            whole, newline, tail = piece.removeprefix(_BOM).rpartition(b"\n")
        else:
            whole, newline, tail = piece.rpartition(b"\n")
        if newline:
            empty = False
            yield b"".join([*rest, whole])
            rest = []
        rest.append(tail)
    last = b"".join(rest)
    if last:
        empty = False
        yield last
    if empty:
        raise BadInputError(field=str(path), value="empty file", remedy="Give a file with at least one row.")


def _with_line_feeds(pieces: Iterator[bytes], ends: Counter[str]) -> Iterator[bytes]:
    """Yield the same text with every CRLF and CR as LF."""
    pending = b""
    for piece in pieces:
        joined = pending + piece if pending else piece
        # Its LF may be the next piece's first byte.
        pending = b"\r" if joined.endswith(b"\r") else b""
        whole = joined.removesuffix(pending)
        num_crlf = whole.count(b"\r\n") if b"\r" in whole else 0
        ends["CRLF"] += num_crlf
        ends["CR"] += whole.count(b"\r") - num_crlf
        ends["LF"] += whole.count(b"\n") - num_crlf
        yield whole.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in whole else whole
    if pending:
        ends["CR"] += 1
        yield b"\n"


def _as_utf8(pieces: Iterator[bytes], path: Path, encoding: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for piece in pieces:
            yield decoder.decode(piece).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError as error:
        raise BadInputError(
            field=str(path), value=f"not {encoding} text", remedy="Give another --encoding, or a whole file."
        ) from error


def _decoded(block: bytes, encoding: str) -> pl.Series:
    """Split into lines; null where a line is not text."""
    if b"\0" not in block:
        try:
            return pl.Series([block.decode(encoding)], dtype=pl.String).str.split("\n").explode()
        except UnicodeDecodeError:
            pass
    return pl.Series([_text_or_none(raw, encoding) for raw in block.split(b"\n")], dtype=pl.String)


def _text_or_none(raw: bytes, encoding: str) -> str | None:
    try:
        return None if b"\0" in raw else raw.decode(encoding)
    except UnicodeDecodeError:
        return None
