"""Which items have given attributes: filters of rankings, compiled to one mask per filter.

    {"genres": "Comedy"}                        an attribute with a value
    {"genres": ["Comedy", "Drama"]}             with any of several
    {"year": {"min": 1990, "max": 1999}}        with a number in a range, ends included
    {"genres": "Comedy", "year": {"min": 1990}} all of several attributes

Upper and lower case are the same, and so is white space around a value. A number means every value that
reads as that number. An item without a value passes no filter of that attribute. V is items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from warmprompt.errors import BadInputError, UnknownNameError

Mask = NDArray[np.bool_]
Value = str | int | float
FilterValue = Value | Sequence[Value] | Mapping[str, float]
Filter = Mapping[str, FilterValue]
"""Attribute -> a value, a list of values, or {"min": ..., "max": ...}."""

_MOST_MASKS = 64
_MOST_SHOWN = 20
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)?\.\.(-?\d+(?:\.\d+)?)?")


class ItemAttributes:
    """The attributes of a catalogue's items; masks that were asked for before are kept.

    Args:
        frame: V rows in index order; columns are text or lists of text, null where unknown.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame
        self._columns: dict[str, _Column] = {}
        self._masks: dict[object, Mask] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The attributes."""
        return tuple(self.frame.columns)

    def is_list(self, name: str) -> bool:
        """Tell whether an item may have several values of an attribute."""
        return isinstance(self.frame.schema[name], pl.List)

    def __reduce__(self) -> tuple[type, tuple[pl.DataFrame]]:
        """Pickle as the table alone; what was looked up is found again."""
        return type(self), (self.frame,)

    def mask(self, wanted: Filter) -> Mask:
        """Return which items pass every condition, (V,); read-only.

        Raises:
            UnknownNameError: An attribute or a value that no item has; names those there are.
            BadInputError: A condition is of another form than the three above.
        """
        if not isinstance(wanted, Mapping):
            raise BadInputError(field="filter", value=wanted, remedy='Write it as {"genres": "Comedy"}.')
        conditions = {name: _condition(name, value) for name, value in wanted.items()}
        key = tuple(sorted(conditions.items()))
        found = self._masks.get(key)
        if found is None:
            found = np.ones(self.frame.height, dtype=np.bool_)
            for name, condition in key:
                found &= self._column(name).mask(condition)
            found.setflags(write=False)
            if len(self._masks) >= _MOST_MASKS:
                self._masks.clear()
            self._masks[key] = found
        return found

    def extended(self, rows: Sequence[Mapping[str, str | Sequence[str]]]) -> ItemAttributes:
        """Return the attributes with items more; what they say of attributes unknown here is left out."""
        columns = [
            pl.Series(name, [_as_stored(row.get(name), kind) for row in rows], dtype=kind)
            for name, kind in self.frame.schema.items()
        ]
        return ItemAttributes(pl.concat([self.frame, pl.DataFrame(columns)]))

    def check(self, attributes: Mapping[str, object], *, field: str) -> None:
        """Refuse attributes that a new item cannot have.

        Raises:
            UnknownNameError: An attribute that the catalogue does not have.
            BadInputError: Several values of an attribute that has one.
        """
        for name, value in attributes.items():
            if name not in self.frame.columns:
                raise self._unknown(name, field=field)
            if not isinstance(value, str) and not self.is_list(name):
                raise BadInputError(field=f"{name} of {field}", value=value, remedy="Give one text.")

    def _column(self, name: str) -> _Column:
        if name not in self.frame.columns:
            raise self._unknown(name, field="filter")
        if name not in self._columns:
            self._columns[name] = _column(self.frame[name])
        return self._columns[name]

    def _unknown(self, name: str, *, field: str) -> UnknownNameError:
        known = ", ".join(self.names) or "none: name attribute columns at import, and train again"
        return UnknownNameError(field=field, value=name, remedy=f"Attributes of the items: {known}.")


def attributes_of(items: pl.DataFrame) -> ItemAttributes | None:
    """Return what a table of items holds besides ids and titles, or None where that is nothing."""
    frame = items.drop("item", "title", strict=False)
    return ItemAttributes(frame) if frame.width else None


def parsed_filter(texts: Iterable[str], *, field: str) -> dict[str, FilterValue]:
    """Return the filter that texts such as "genres=Comedy" and "year=1990..1999" mean.

    The same attribute named again allows another value.

    Raises:
        BadInputError: A text is written otherwise, or an attribute has a range and something else.
    """
    values: dict[str, list[Value]] = {}
    ranges: dict[str, FilterValue] = {}
    for text in texts:
        name, _, value = (part.strip() for part in text.partition("="))
        if not name or not value:
            remedy = "Write genres=Comedy, or year=1990..1999 for a range."
            raise BadInputError(field=field, value=text, remedy=remedy)
        if name in ranges or (name in values and _is_range(value)):
            raise BadInputError(field=field, value=text, remedy=f"Give one range of {name}, or values alone.")
        if _is_range(value):
            ends = zip(("min", "max"), value.split(".."), strict=True) if value.count("..") == 1 else ()
            ranges[name] = {end: float(number) for end, number in ends if number}
        else:
            values.setdefault(name, []).append(value)
    return values | ranges


def _is_range(text: str) -> bool:
    return text != ".." and bool(_RANGE.fullmatch(text))


@dataclass(frozen=True, order=True)
class _Condition:
    """What an attribute is to be: texts in lower case and numbers, or a range alone."""

    texts: tuple[str, ...] = ()
    numbers: tuple[float, ...] = ()
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class _Column:
    """One attribute: which item has which value. E is pairs of item and value.

    Attributes:
        name: The attribute.
        num_items: V.
        values: As first spelled, the most frequent first.
        rows_E: Items.
        codes_E: Positions in `values`.
    """

    name: str
    num_items: int
    values: tuple[str, ...]
    rows_E: NDArray[np.int64]
    codes_E: NDArray[np.int64]

    @cached_property
    def keys(self) -> dict[str, int]:
        """Values in lower case to their position."""
        return {_key(value): code for code, value in enumerate(self.values)}

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """Values as numbers; NaN for what reads as none."""
        return np.array([_number(value) for value in self.values], dtype=np.float64)

    def mask(self, condition: _Condition) -> Mask:
        mask = np.zeros(self.num_items, dtype=np.bool_)
        mask[self.rows_E[self._wanted(condition)[self.codes_E]]] = True
        return mask

    def _wanted(self, condition: _Condition) -> Mask:
        """Return which values pass."""
        passing = np.zeros(len(self.values), dtype=np.bool_)
        for text in condition.texts:
            code = self.keys.get(text)
            if code is None:
                raise self._unknown(text)
            passing[code] = True
        for number in condition.numbers:
            same = self.numbers == number
            if not same.any():
                raise self._unknown(f"{number:.15g}")
            passing |= same
        if condition.texts or condition.numbers:
            return passing
        if not np.isfinite(self.numbers).any():
            raise BadInputError(
                field=f"filter {self.name}", value="a range", remedy=f"It has no numbers. {self._known('')}"
            )
        return (self.numbers >= condition.low) & (self.numbers <= condition.high)

    def _unknown(self, text: str) -> UnknownNameError:
        return UnknownNameError(field=f"filter {self.name}", value=text, remedy=self._known(text))

    def _known(self, text: str) -> str:
        if len(self.values) <= _MOST_SHOWN:
            return f"Its values: {', '.join(self.values) or 'none'}."
        near = process.extract(text, list(self.keys), scorer=fuzz.WRatio, limit=3, score_cutoff=60.0)
        shown = [self.values[self.keys[key]] for key, _, _ in near] or list(self.values[:5])
        which = "nearest" if near else "most frequent"
        return f"The {which} of its {len(self.values)} values: {', '.join(shown)}."


def _column(series: pl.Series) -> _Column:
    rows = pl.DataFrame({"row": pl.int_range(0, len(series), eager=True), "value": series})
    if isinstance(series.dtype, pl.List):
        rows = rows.explode("value", empty_as_null=True, keep_nulls=True)
    rows = rows.with_columns(pl.col("value").cast(pl.String).str.strip_chars())
    rows = rows.filter(pl.col("value").is_not_null() & (pl.col("value") != ""))
    spelled = rows.group_by("value", maintain_order=True).agg(times=pl.len())
    spelled = spelled.with_columns(
        key=pl.Series([_key(value) for value in spelled["value"]], dtype=pl.String)
    )
    values = spelled.group_by("key", maintain_order=True).agg(pl.col("value").first(), pl.col("times").sum())
    values = values.sort("times", descending=True, maintain_order=True).with_row_index("code")
    codes = spelled.join(values.select("key", "code"), on="key").select("value", "code")
    coded = rows.join(codes, on="value", how="left", maintain_order="left")
    return _Column(
        name=series.name,
        num_items=len(series),
        values=tuple(values["value"].to_list()),
        rows_E=coded["row"].to_numpy().astype(np.int64),
        codes_E=coded["code"].to_numpy().astype(np.int64),
    )


def _condition(name: object, wanted: object) -> _Condition:
    """Return a condition in its one form, so that the same filter always has the same key.

    Raises:
        BadInputError: It is none.
    """
    if not isinstance(name, str):
        raise BadInputError(field="filter", value=name, remedy="Name attributes as text.")
    if isinstance(wanted, Mapping):
        return _range(name, wanted)
    single = isinstance(wanted, str | int | float | np.generic)
    several = isinstance(wanted, Sequence | set | frozenset | np.ndarray | pl.Series)
    values: list[Any] = [wanted] if single else list(wanted) if several else []  # type: ignore[call-overload]
    values = [value.item() if isinstance(value, np.generic) else value for value in values]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, Value) or not (value == value):  # noqa: PLR0124
            raise _bad(name, value)
    if not values:
        raise _bad(name, wanted)
    texts = {_key(value) for value in values if isinstance(value, str)}
    numbers = {float(value) for value in values if not isinstance(value, str)}
    return _Condition(texts=tuple(sorted(texts)), numbers=tuple(sorted(numbers)))


def _range(name: str, wanted: Mapping[Any, Any]) -> _Condition:
    ends = {"min": -math.inf, "max": math.inf}
    if not wanted or not set(wanted) <= set(ends):
        raise _bad(name, dict(wanted))
    for end, value in wanted.items():
        number = value.item() if isinstance(value, np.generic) else value
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise BadInputError(field=f"{end} of filter {name}", value=value, remedy="Give a finite number.")
        ends[end] = float(number)
    if ends["min"] > ends["max"]:
        raise BadInputError(field=f"filter {name}", value=dict(wanted), remedy="Give min below max.")
    return _Condition(low=ends["min"], high=ends["max"])


def _bad(name: str, value: object) -> BadInputError:
    remedy = 'Give a text or a number, a list of them, or {"min": 1990, "max": 1999}.'
    return BadInputError(field=f"filter {name}", value=value, remedy=remedy)


def _as_stored(value: str | Sequence[str] | None, kind: pl.DataType) -> str | list[str] | None:
    """Return a new item's value as the column has it; one text is a list of one where lists are kept."""
    if value is None or not isinstance(kind, pl.List):
        return value if value is None or isinstance(value, str) else ", ".join(value)
    return [value] if isinstance(value, str) else list(value)


def _key(text: str) -> str:
    return text.strip().casefold()


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
