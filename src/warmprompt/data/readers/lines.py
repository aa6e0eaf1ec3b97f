"""Text files as a stream of numbered lines, in pieces that fit in memory; gzip is read as it is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl

from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

TEXT = "text"
CHUNK_BYTES = 1 << 24
_GZIP_MAGIC = b"\x1f\x8b"
_BOM = b"\xef\xbb\xbf"


def numbered_lines(
    path: Path, log: RejectLog, *, encoding: str = "utf-8", chunk_bytes: int = CHUNK_BYTES
) -> Iterator[pl.DataFrame]:
    """Yield frames (line, text) that together hold every line of the file, blank ones included.

    Line ends are stripped (LF or CRLF), as is a byte order mark. Lines that are not text in the
    given encoding or hold NUL bytes go to the log.

    Args:
        path: A text file, plain or gzip (told by its first two bytes).
        log: Where undecodable lines are counted.
        encoding: A Python codec in which a line feed is the byte 0x0A.
        chunk_bytes: Size of the pieces; a line longer than that is kept whole.

    Raises:
        BadInputError: The file is missing, empty, binary, or damaged gzip.
    """
    next_line = 1
    for block in _blocks(path, chunk_bytes):
        texts = _decoded(block, encoding)
        numbers = pl.int_range(next_line, next_line + len(texts), dtype=pl.Int64, eager=True)
        frame = pl.DataFrame({LINE: numbers, TEXT: texts})
        next_line += len(texts)
        broken = frame.filter(pl.col(TEXT).is_null())
        if broken.height:
            log.reject(f"not {encoding} text", broken[LINE].to_list())
            frame = frame.filter(pl.col(TEXT).is_not_null())
        yield frame


def first_line(path: Path, *, encoding: str = "utf-8") -> str:
    """Return the first line of the file without its end.

    Raises:
        BadInputError: As `numbered_lines`, or the line is not text.
    """
    log = RejectLog("header")
    frame = next(numbered_lines(path, log, encoding=encoding, chunk_bytes=1 << 12))
    if frame.is_empty() or frame[LINE][0] != 1:
        raise BadInputError(field=str(path), value="line 1", remedy=f"Give a text file in {encoding}.")
    return str(frame[TEXT][0])


def _blocks(path: Path, chunk_bytes: int) -> Iterator[bytes]:
    """Yield pieces of the file that end at line ends."""
    rest, start = b"", True
    try:
        with _open(path) as file:
            while piece := file.read(chunk_bytes):
                if start:
                    if b"\0" in piece[:8192]:
                        raise BadInputError(
                            field=str(path), value="binary data", remedy="Give a text file or a gzip of one."
                        )
                    piece, start = piece.removeprefix(_BOM), False
                whole, newline, tail = (rest + piece).rpartition(b"\n")
                if newline:
                    yield whole
                rest = tail
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadInputError(
            field=str(path), value=f"damaged gzip: {error}", remedy="Fetch the file again; it was cut short."
        ) from error
    except OSError as error:
        raise BadInputError(
            field=str(path), value=error.strerror or error, remedy="Give a readable file."
        ) from error
    if start:
        raise BadInputError(field=str(path), value="empty file", remedy="Give a file with at least one row.")
    if rest:
        yield rest


def _open(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP_MAGIC
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def _decoded(block: bytes, encoding: str) -> pl.Series:
    """Split into lines; null where a line is not text."""
    if b"\0" not in block:
        try:
            whole = pl.Series([block.decode(encoding)], dtype=pl.String)
            return whole.str.split("\n").explode().str.strip_suffix("\r")
        except UnicodeDecodeError:
            pass
    return pl.Series([_text_or_none(raw, encoding) for raw in block.split(b"\n")], dtype=pl.String)


def _text_or_none(raw: bytes, encoding: str) -> str | None:
    try:
        return None if b"\0" in raw else raw.decode(encoding).removesuffix("\r")
    except UnicodeDecodeError:
        return None
