"""Objects in text, as JSON or as Python writes dictionaries, one in a line or one after the other."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from warmprompt.data.readers.lines import TEXT
from warmprompt.data.readers.source import LINE, RejectLog

Numbered = list[tuple[int, dict[str, Any]]]

NOT_AN_OBJECT = "not a JSON object"
_DECODER = json.JSONDecoder()
_TOKEN = re.compile(r""""(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|[][{}()]""", re.DOTALL)
_WORD = re.compile(r"[^\s,\]]+")
# Two escapes that together write one character beyond 16 bits, which Python does not join.
_PAIR = re.compile(r"\\u([dD][89aAbB]\w{2})\\u([dD][c-fC-F]\w{2})", re.ASCII)
_BETWEEN = re.compile(r"[\s,]*")
# Words that Python's literals lack, as repr() writes floats and JSON writes constants.
_WORDS = {
    "null": None,
    "true": True,
    "false": False,
    "nan": float("nan"),
    "NaN": float("nan"),
    "inf": float("inf"),
    "Infinity": float("inf"),
}
_MALFORMED = (ValueError, TypeError, SyntaxError, MemoryError, RecursionError)


def parsed(text: str) -> Any:
    """Return the value that a text writes, as JSON or as a Python literal; None where it writes none.

    Nothing is executed: the text is parsed, and whatever is no literal is no value. A comma behind it, as
    between the rows of an array, is no part of it.
    """
    text = text.strip().removesuffix(",")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings():
            # A backslash that escapes nothing is itself.
            warnings.simplefilter("ignore")
            whole = _PAIR.sub(_joined_pair, text)
            tree = _Words().visit(ast.parse(whole, mode="eval"))
        found = ast.literal_eval(tree)
        json.dumps(found)  # Python also spells sets, bytes and the like
    except _MALFORMED:
        return None
    return found


def is_array(lines: Sequence[str]) -> bool:
    """Tell whether a file that begins with these lines writes its objects over lines, not one in each."""
    first = next((line.strip() for line in lines if line.strip()), "")
    if first.startswith("["):
        return True
    return first.startswith("{") and first.endswith(("{", "[", ",")) and parsed(first) is None


def array_objects(chunks: Iterator[pl.DataFrame], log: RejectLog) -> Iterator[Numbered]:
    """Yield lists of (line number, object) of an array, or of objects one after the other.

    What is no object goes to the log with the line on which it begins, as does an array without end.
    """
    reader = _ArrayReader()
    for chunk in chunks:
        if found := reader.objects(chunk, log):
            yield found
    if found := reader.objects(None, log):
        yield found


class _ArrayReader:
    """Text that was not yet read, and how far the array has come."""

    def __init__(self) -> None:
        self._text = ""
        self._line = 1
        self._depth: int | None = None

    def objects(self, chunk: pl.DataFrame | None, log: RejectLog) -> Numbered:
        """Take in whole lines, or the end of the file, and return the objects that are complete."""
        if chunk is not None:
            self._line = chunk[LINE][0] if chunk.height and not self._text else self._line
            self._text += "\n".join(chunk[TEXT]) + "\n"
        found: Numbered = []
        broken: list[int] = []
        index = self._skip(0)
        while index < len(self._text):
            end, value = _value_at(self._text, index)
            if end is None and chunk is not None:
                break
            if not isinstance(value, dict):
                broken.append(self._line)
            else:
                found.append((self._line, value))
            # Text that never ends as a value is given up as a whole.
            index = self._skip(end or len(self._text), start=index)
        self._text = self._text[index:]
        log.reject(NOT_AN_OBJECT, broken)
        if chunk is None and self._depth == 1:
            log.reject("the array has no end: the file is cut short", [self._line])
        return found

    def _skip(self, index: int, *, start: int = 0) -> int:
        """Return where the next value begins after `index`, and count the lines since `start`."""
        between = _BETWEEN.match(self._text, index)
        end = between.end() if between else index
        if self._depth is None and self._text[end : end + 1] == "[":
            self._depth = 1
            return self._skip(end + 1, start=start)
        if self._depth == 1 and self._text[end : end + 1] == "]":
            self._depth = 0
            return self._skip(end + 1, start=start)
        self._line += self._text.count("\n", start, end)
        return end


def _value_at(text: str, index: int) -> tuple[int | None, Any]:
    """Return where the value at `index` ends, and the value; no end where the text stops first."""
    try:
        value, end = _DECODER.raw_decode(text, index)
    except (ValueError, RecursionError):
        pass
    else:
        return end, value
    if text[index] not in "{[":
        word = _WORD.match(text, index)
        return (word.end() if word else index + 1), None
    depth = 0
    for token in _TOKEN.finditer(text, index):
        depth += {"{": 1, "[": 1, "(": 1, "}": -1, "]": -1, ")": -1}.get(token[0], 0)
        if depth == 0:
            return token.end(), parsed(text[index : token.end()])
    return None, None


def _joined_pair(pair: re.Match[str]) -> str:
    try:
        high, low = int(pair[1], 16), int(pair[2], 16)
    except ValueError:
        return pair[0]
    return f"\\U{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00):08x}"


class _Words(ast.NodeTransformer):
    """Replaces the words of JSON and of float's repr by what they mean."""

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.copy_location(ast.Constant(_WORDS[node.id]), node) if node.id in _WORDS else node
