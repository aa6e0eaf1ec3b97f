"""Objects of JSON lines files, plain or gzip."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import polars as pl

from warmprompt.data.readers.lines import TEXT, numbered_lines
from warmprompt.data.readers.source import RejectLog
from warmprompt.errors import BadInputError

_EXACT_FLOAT = 2**53
Numbered = list[tuple[int, dict[str, Any]]]

# One of two escapes that together write one character beyond 16 bits; alone it is no text.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def json_objects(path: Path, log: RejectLog, *, python_literals: bool = False) -> Iterator[Numbered]:
    """Yield lists of (line number, object); blank lines are none, other lines go to the log.

    Args:
        path: One object per line.
        log: Where lines that hold no object are counted.
        python_literals: Accept Python's spelling ({'a': True}) as well, as in Amazon's older metadata.

    Raises:
        BadInputError: The file is missing, empty, binary, or damaged gzip.
    """
    for chunk in numbered_lines(path, log):
        objects: Numbered = []
        broken, untold = [], []
        for line, text in chunk.filter(pl.col(TEXT) != "").iter_rows():
            found = _object(text, python_literals=python_literals)
            if found is None:
                broken.append(line)
            elif _HALF.search(text) and not _is_text(found):
                untold.append(line)
            else:
                objects.append((line, found))
        log.reject("not a JSON object", broken)
        log.reject("half a character, as \\ud800 alone", untold)
        if objects:
            yield objects


def first_object(path: Path) -> Mapping[str, Any]:
    """Return the first object of the file, empty where there is none among its first lines.

    Raises:
        BadInputError: As `json_objects`.
    """
    for chunk in numbered_lines(path, RejectLog("peek"), chunk_bytes=1 << 16):
        for text in chunk[TEXT]:
            if found := _object(text, python_literals=True):
                return found
        break
    return {}


def with_plain_ids(objects: Numbered, fields: Mapping[str, str], log: RejectLog) -> Numbered:
    """Return the objects whose ids are text, integers or absent; the others go to the log.

    Args:
        objects: As `json_objects` yields them.
        fields: "user" or "item" to the field that holds that id.
        log: Where an object with another type of id is counted.
    """
    for name, field in fields.items():
        wrong = {line for line, each in objects if not _is_id(each.get(field))}
        log.reject(f"{name} id is neither text nor an integer", sorted(wrong))
        objects = [(line, each) for line, each in objects if line not in wrong]
    return objects


def _is_id(value: Any) -> bool:
    """Tell whether a value is text, an integer, absent, or a whole number that was written as a float."""
    if type(value) is float:
        return value.is_integer() and abs(value) < _EXACT_FLOAT
    return type(value) in (str, int, NoneType)


def id_column(name: str, values: list[Any]) -> pl.Series:
    """Return ids (text, integers or None) as one column.

    Raises:
        BadInputError: Text and integers are mixed.
    """
    values = [int(value) if type(value) is float else value for value in values]
    kinds = {type(value) for value in values}
    if {str, int} <= kinds:
        raise BadInputError(
            field=f"{name} ids",
            value="text and integers",
            remedy="Give ids that are all text or all integers.",
        )
    try:
        return pl.Series(name, values, dtype=_fitting(values) if int in kinds else pl.String)
    except (OverflowError, TypeError) as error:
        raise BadInputError(
            field=f"{name} ids",
            value="an integer beyond 128 bits",
            remedy="Write ids that need more than 128 bits as text.",
        ) from error


def _fitting(values: list[Any]) -> type[pl.Int64 | pl.Int128]:
    """Return the narrowest type that holds all of these integers."""
    return pl.Int64 if all(value is None or -(2**63) <= value < 2**63 for value in values) else pl.Int128


def text_of(value: Any) -> str | None:
    """Return a scalar as text with its white space collapsed, None where there is nothing.

    Numbers are written as Python writes them, so that a later cast decides what is a number;
    objects and lists are written as JSON and so are no numbers.
    """
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.split()) or None


def _is_text(found: Mapping[str, Any]) -> bool:
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _object(text: str, *, python_literals: bool) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        if not python_literals:
            return None
        try:
            found = ast.literal_eval(text)
            json.dumps(found)  # Python also spells sets, bytes and the like
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, dict) else None
