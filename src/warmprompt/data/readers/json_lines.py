"""Objects of JSON lines files, plain or gzip."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import polars as pl

from warmprompt.data.readers.lines import TEXT, TextFile, first_lines
from warmprompt.data.readers.objects import NOT_AN_OBJECT, Numbered, array_objects, is_array, parsed
from warmprompt.data.readers.source import LINE, RejectLog
from warmprompt.errors import BadInputError

_EXACT_FLOAT = 2**53
# One of two escapes that together write one character beyond 16 bits; alone it is no text.
_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def json_objects(text: TextFile, log: RejectLog) -> Iterator[Numbered]:
    """Yield lists of (line number, object); blank lines are none, other lines go to the log.

    Objects are written as JSON or as Python writes dictionaries ({'a': True}). They stand one in each
    line, or one after the other over any lines, as in an array.

    Args:
        text: JSON lines, or a file that holds an array of objects.
        log: Where lines that hold no object are counted.

    Raises:
        BadInputError: The file is missing, empty, binary, or damaged gzip.
    """
    chunks = text.lines(log)
    if is_array(first_lines(text.path, encoding=text.encoding)):
        yield from array_objects(chunks, log)
        return
    for chunk in chunks:
        objects: Numbered = []
        broken, surrogates = [], []
        for line, written in chunk.filter(pl.col(TEXT).str.strip_chars() != "").iter_rows():
            found = parsed(written)
            if not isinstance(found, dict):
                broken.append(line)
            elif _HALF.search(written) and not _is_text(found):
                surrogates.append(line)
            else:
                objects.append((line, found))
        log.reject(NOT_AN_OBJECT, broken)
        log.reject("half a character, as \\ud800 alone", surrogates)
        if objects:
            yield objects


def first_objects(path: Path, *, encoding: str | None = None) -> list[dict[str, Any]]:
    """Return the objects among the first lines of a file; none where there are none.

    Raises:
        BadInputError: As `json_objects`.
    """
    lines = first_lines(path, encoding=encoding)
    if is_array(lines):
        chunk = pl.DataFrame(
            {LINE: range(1, len(lines) + 1), TEXT: lines}, schema={LINE: pl.Int64, TEXT: pl.String}
        )
        found = array_objects(iter([chunk]), RejectLog("peek"))
        return [each for objects in found for _, each in objects]
    return [each for text in lines if isinstance(each := parsed(text), dict)]


def with_plain_ids(objects: Numbered, fields: Mapping[str, str], log: RejectLog) -> Numbered:
    """Return the objects whose ids are text, integers or absent; the others go to the log.

    A whole number that is written as a float (24.0) is an integer, and NaN is an absent id.

    Args:
        objects: As `json_objects` yields them.
        fields: "user" or "item" to the field that holds that id.
        log: Where an object with another type of id is counted.
    """
    for name, field in fields.items():
        for _, each in objects:
            if isinstance(found := each.get(field), float) and math.isnan(found):
                each[field] = None
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


def scalar_text(value: Any) -> str | None:
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
