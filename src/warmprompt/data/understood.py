"""What an import understood of its source, in at most ten lines."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from warmprompt.data.times import UNIT_NAMES

NO_TASTES = "sentences will say nothing: name a category column"
_MOST_NAMED = 12


@dataclass(frozen=True, kw_only=True)
class Understood:
    """How a source was read; kept in the manifest.

    Attributes:
        encodings: File name to the encoding found.
        used: Per table, our name to the file's column.
        unused: Per table, columns of the file that mean nothing here.
        num_pull, num_push: Events that draw a user towards an item, and away from it.
        num_unrated: Events without a rating, where others have one.
        num_not_rated: Ratings that stood for "not rated".
        no_events: Rows that say that nothing happened, by what they hold.
        joined: Share of events whose item ("items") or user ("users") the other file describes.
        num_idle_users: Users without an event, who were left out.
        time_unit: How times were read, or None without times.
        first_s, last_s: Times of the first and the last event, or None.
        taste_column: The attribute of items that sentences about tastes name, or None.
        notes: What people should know, each with its remedy.
    """

    encodings: Mapping[str, str] = field(default_factory=dict)
    used: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unused: Mapping[str, Sequence[str]] = field(default_factory=dict)
    num_pull: int = 0
    num_push: int = 0
    num_unrated: int = 0
    num_not_rated: int = 0
    no_events: Mapping[str, int] = field(default_factory=dict)
    joined: Mapping[str, float] = field(default_factory=dict)
    num_idle_users: int = 0
    time_unit: str | None = None
    first_s: int | None = None
    last_s: int | None = None
    taste_column: str | None = None
    notes: Sequence[str] = ()


def facts(
    understood: Understood,
    *,
    source_format: str,
    scale: tuple[float, float] | None,
    weight_unit: float | None,
) -> list[tuple[str, str]]:
    """Return what was understood as (label, text) pairs, one line each.

    Args:
        understood: As kept in the manifest.
        source_format: The reader that was used.
        scale: Of ratings, or None without.
        weight_unit: The weight that counts 1, or None without weights.
    """
    lines = [("read as", _read_as(understood, source_format))]
    if understood.used:
        lines.append(("columns", "; ".join(map(_columns, understood.used.items()))))
    if unused := [f"{table} {_listed(names)}" for table, names in understood.unused.items() if names]:
        lines.append(("not used", "; ".join(unused)))
    lines.append(("feedback", _feedback(understood, scale, weight_unit)))
    shares = [f"{share:.1%} of events find their {table[:-1]}" for table, share in understood.joined.items()]
    tastes = f"sentences name {understood.taste_column}" if understood.taste_column else NO_TASTES
    lines.append(("joins and tastes", "; ".join([*shares, tastes])))
    if understood.first_s is not None and understood.last_s is not None:
        unit = UNIT_NAMES.get(understood.time_unit or "", understood.time_unit or "")
        lines.append(("period", f"{day(understood.first_s)} to {day(understood.last_s)} UTC, read as {unit}"))
    if understood.notes:
        lines.append(("note", "; ".join(understood.notes)))
    return lines


def day(seconds: int) -> str:
    """Return a moment's day in UTC."""
    return (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)).strftime("%Y-%m-%d")


def understood_from_json(entries: Mapping[str, Any] | None) -> Understood | None:
    """Return what a manifest holds; None where an earlier version wrote it.

    Raises:
        TypeError: It has other entries.
    """
    if entries is None:
        return None
    unused = {table: tuple(names) for table, names in entries["unused"].items()}
    return Understood(**{**entries, "unused": unused, "notes": tuple(entries["notes"])})


def _read_as(understood: Understood, source_format: str) -> str:
    files = ", ".join(f"{name} {encoding}" for name, encoding in understood.encodings.items())
    return f"{source_format} ({files})" if files else source_format


def _columns(table: tuple[str, Mapping[str, str]]) -> str:
    name, columns = table
    return f"{name} " + _listed([f"{ours}={theirs}" for ours, theirs in columns.items()])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more


def _feedback(understood: Understood, scale: tuple[float, float] | None, weight_unit: float | None) -> str:
    kinds = ["ratings {:g} to {:g}".format(*scale)] if scale else []
    if weight_unit is not None:
        kinds.append(f"strengths, {weight_unit:g} counts as 1")
    parts = [
        " and ".join(kinds) or "events alone",
        f"{understood.num_pull:,} events pull, {understood.num_push:,} push away",
    ]
    if scale and understood.num_unrated:
        stood = f", {understood.num_not_rated:,} by --not-rated" if understood.num_not_rated else ""
        parts.append(f"{understood.num_unrated:,} without a rating{stood}")
    parts += [f"{count:,} rows with {what} are no events" for what, count in understood.no_events.items()]
    return "; ".join(parts)
