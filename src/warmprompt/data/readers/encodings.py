"""Which encoding a text file has: UTF-8 where it can be, else Latin-1 or Windows-1252, or the one given."""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from warmprompt.errors import BadInputError

_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# First bytes of characters that UTF-8 writes with two to four bytes.
_LEADS = bytes(range(0xC2, 0xF5))
_NO_CONTROLS = bytes(byte for byte in range(256) if not 0x80 <= byte <= 0x9F)
_NOT_IN_CP1252 = frozenset({0x81, 0x8D, 0x8F, 0x90, 0x9D})
# In Western European languages a letter beyond ASCII seldom follows another; elsewhere most do.
_MOST_PAIRS = 0.5


@dataclass
class ByteClues:
    """What the bytes of a file say about its encoding.

    Attributes:
        num_characters: Characters beyond ASCII in lines that are UTF-8.
        num_broken: Lines that are not UTF-8.
        first_broken: Number of the first of them, 0 where there is none.
        num_high, num_pairs: Bytes beyond ASCII in those lines, and those that follow another one.
        controls: Which bytes from 0x80 to 0x9F stand in those lines.
    """

    num_characters: int = 0
    num_broken: int = 0
    first_broken: int = 0
    num_high: int = 0
    num_pairs: int = 0
    controls: set[int] = field(default_factory=set)
    _num_lines: int = 0

    def add(self, block: bytes) -> None:
        """Take in whole lines, ended by LF."""
        first, self._num_lines = self._num_lines + 1, self._num_lines + block.count(b"\n") + 1
        if block.isascii():
            return
        if _is_utf8(block):
            self.num_characters += _num_characters(block)
            return
        broken = []
        for number, line in enumerate(block.split(b"\n"), start=first):
            if line.isascii():
                continue
            if _is_utf8(line):
                self.num_characters += _num_characters(line)
            else:
                self.first_broken = self.first_broken or number
                broken.append(line)
        self.num_broken += len(broken)
        joined = b"\n".join(broken)
        high = np.frombuffer(joined, dtype=np.uint8) >= 0x80
        self.num_high += int(high.sum())
        self.num_pairs += int((high[1:] & high[:-1]).sum())
        self.controls.update(joined.translate(None, _NO_CONTROLS))

    def found(self) -> str | None:
        """Return the encoding that fits: UTF-8, Latin-1, Windows-1252, or None where none of them does.

        A file with a few broken lines among many that are UTF-8 is UTF-8. Windows-1252 differs from
        Latin-1 only in bytes that mean nothing in Latin-1.
        """
        if self.num_characters >= self.num_broken:
            return "utf-8"
        if self.num_pairs > _MOST_PAIRS * self.num_high or self.controls & _NOT_IN_CP1252:
            return None
        return "cp1252" if self.controls else "latin-1"


def encoding_of_head(path: Path, head: bytes, given: str | None) -> str | None:
    """Return the encoding that the first bytes show, by a byte order mark or UTF-16's NULs, or the one given.

    Raises:
        BadInputError: The encoding given is none, or not this file's.
    """
    marked = next((name for mark, name in _BOMS if head.startswith(mark)), None)
    wide = _wide(head)
    if given is None:
        return marked or wide
    name = _codec(given)
    if marked and not name.replace("-", "").startswith(marked.replace("-", "")):
        raise _wrong(path, given, marked)
    if name.startswith(("utf-16", "utf-32")) and marked is None and b"\0" not in head:
        raise _wrong(path, given, "utf-8")
    if not name.startswith(("utf-16", "utf-32")) and marked is None and wide:
        raise _wrong(path, given, wide)
    return name


def encoding_of_text(path: Path, evidence: ByteClues, given: str | None) -> str:
    """Return the encoding of a file that was read as a whole; one given is checked against it.

    Raises:
        BadInputError: No encoding fits, or not the one given.
    """
    found = evidence.found()
    if given is not None:
        utf8 = given == "utf-8"
        if utf8 and found != "utf-8":
            raise _wrong(path, f"{given} (line {evidence.first_broken})", found or "an older encoding")
        if not utf8 and evidence.num_characters and not evidence.num_broken:
            raise _wrong(path, given, "utf-8")
        return given
    if found is None:
        raise BadInputError(
            field=f"{path}, line {evidence.first_broken}",
            value="neither UTF-8 nor Latin-1 text",
            remedy="Name its encoding with --encoding, such as cp1251, gb18030, shift_jis or euc-kr.",
        )
    return found


def is_line_safe(encoding: str) -> bool:
    """Tell whether a line feed is the byte 0x0A in that encoding and nothing else is."""
    return "\n".encode(encoding) == b"\n"


def _codec(given: str) -> str:
    try:
        name = codecs.lookup(given).name
        "text".encode(name)
    except (LookupError, ValueError) as error:
        raise BadInputError(
            field="--encoding", value=given, remedy="Give one such as utf-8, latin-1, cp1252 or utf-16."
        ) from error
    return {"utf-8-sig": "utf-8", "iso8859-1": "latin-1"}.get(name, name)


def _wide(head: bytes) -> str | None:
    """Return which UTF-16 every second byte being NUL shows, None where it is not so."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) <= 0.4 * len(head) / 2 or min(even, odd) > 0.1 * len(head) / 2:
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _wrong(path: Path, given: str, found: str) -> BadInputError:
    return BadInputError(
        field="--encoding", value=given, remedy=f"Leave it out or give another; {path} looks like {found}."
    )


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _num_characters(raw: bytes) -> int:
    return len(raw) - len(raw.translate(None, _LEADS))
