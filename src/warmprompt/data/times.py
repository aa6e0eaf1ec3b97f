"""When things happened: in which unit times are written, and the same moments in seconds.

A unit is found by itself when it is the only one in which most times lie between 1990 and now.
"""

from __future__ import annotations

import datetime as dt
from typing import Literal

import polars as pl

from warmprompt.data.readers.source import TimeUnit
from warmprompt.errors import BadInputError

PLAUSIBLE_FROM_S = 631_152_000  # 1990-01-01: no log of users and items is older.
_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXCEL_EPOCH = dt.date(1899, 12, 30)
_MOST = 0.5
_NEARLY_ALL = 0.9
_DAY_S = 86_400
UNIT_NAMES = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "iso": "ISO 8601",
    "dates": "dates",
}

# From looser spellings to the one that is parsed, 2020-01-02T03:04:05+00:00; each step sees the last one's.
_STEPS = (
    (r"^(\d{4})(\d\d)(\d\d)(?:\.0+)?$", "${1}-${2}-${3}"),
    (r"^(\d{4})(\d\d)(\d\d)T?(\d\d)(\d\d)(\d\d)(?:\.0+)?", "${1}-${2}-${3}T${4}:${5}:${6}"),
    (r"^(\d{4})[/.](\d\d?)[/.](\d\d?)", "${1}-${2}-${3}"),
    (r"^(\d{4})-(\d)-", "${1}-0${2}-"),
    (r"^(\d{4}-\d\d)-(\d)($|\D)", "${1}-0${2}${3}"),
    (r"^(\d{4}-\d\d-\d\d)[ t]+", "${1}T"),
    (r"T(\d):", "T0${1}:"),
    (r"T(\d\d:\d\d)($|[^:\d])", "T${1}:00${2}"),
    (r",(\d+)", ".${1}"),
    (r" *(?:Z|z|UTC|GMT)$", "+00:00"),
    (r"(T\S+) ([+-]\d\d)", "${1}${2}"),
    (r"(T\S+[+-]\d\d)$", "${1}:00"),
)


def settle_unit(times: pl.Series, now_s: int) -> TimeUnit | None:
    """Return the unit in which most of these times are plausible, None where no time is given.

    Numbers that are plausible in no unit are taken as seconds: they order events at least.

    Args:
        times: As a source wrote them, text or numbers.
        now_s: Seconds since 1970.

    Raises:
        BadInputError: Days of a spreadsheet, or texts that are no ISO 8601.
    """
    texts = times.cast(pl.String).str.strip_chars()
    texts = texts.filter(texts.is_not_null() & (texts != ""))
    if not len(texts):
        return None
    numbers = texts.cast(pl.Float64, strict=False).drop_nulls()
    if len(numbers) < _MOST * len(texts):
        return _settle_text(texts)
    for unit, per_second in _PER_SECOND.items():
        if _share(numbers / per_second, PLAUSIBLE_FROM_S, now_s) > _MOST:
            return unit
    written = pl.select(iso_seconds(pl.lit(texts))).to_series().fill_null(-1.0)
    if _share(written, PLAUSIBLE_FROM_S, now_s) > _NEARLY_ALL:
        return "iso"  # 20201231
    days = numbers * _DAY_S - (dt.date(1970, 1, 1) - _EXCEL_EPOCH).days * _DAY_S
    if _share(days, PLAUSIBLE_FROM_S, now_s) > _NEARLY_ALL:
        raise BadInputError(
            field="times",
            value=texts[0],
            remedy="They look like the days of a spreadsheet; write dates as 2020-12-31, or say what they "
            "are with --time-unit s.",
        )
    return "s"


def in_seconds(column: str, unit: TimeUnit | Literal["dates"]) -> pl.Expr:
    """Return seconds since 1970 UTC as Float64; null where a time is not written in this unit."""
    if unit == "iso":
        return iso_seconds(pl.col(column).cast(pl.String).str.strip_chars())
    seconds = pl.col(column).cast(pl.Float64, strict=False)
    return seconds if unit == "dates" else seconds / _PER_SECOND[unit]


def iso_seconds(text: pl.Expr) -> pl.Expr:
    """Return seconds since 1970 of ISO 8601 days and times; without an offset they are UTC.

    Common looser spellings are read as well: 2020/1/2, 20200102, a space for the T, no seconds, "UTC".
    """
    for pattern, replacement in _STEPS:
        text = text.str.replace(pattern, replacement)
    moments = (
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", strict=False, time_unit="us").dt.epoch("us"),
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us").dt.epoch("us"),
        text.str.to_date("%Y-%m-%d", strict=False).cast(pl.Datetime("us")).dt.epoch("us"),
    )
    dated = text.str.contains(r"^\d{4}-")  # "1-2-20" is no day of the year 1
    return pl.when(dated).then(pl.coalesce(moments) / 1_000_000)


def _settle_text(texts: pl.Series) -> TimeUnit:
    read = pl.select(iso_seconds(pl.lit(texts))).to_series()
    if read.null_count() <= _MOST * len(texts):
        return "iso"
    sample = texts.filter(read.is_null())[0]
    if texts.str.contains(r"^\d{1,2}[/.\-]\d{1,2}[/.\-]\d{2,4}").mean() > _MOST:  # type: ignore[operator]
        remedy = "Day and month cannot be distinguished; write dates as 2020-12-31."
    else:
        remedy = "Write dates as 2020-12-31 or 2020-12-31T23:59:59Z, or numbers since 1970."
    raise BadInputError(field="times", value=sample, remedy=remedy)


def _share(seconds: pl.Series, low: float, high: float) -> float:
    return float(seconds.is_between(low, high).mean() or 0)  # type: ignore[arg-type]
