"""What a data set holds: counts, events per user, period, cold users, rejects."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table

from warmprompt.data.dataset import Dataset
from warmprompt.data.tables import Manifest, open_dataset, read_data_manifest
from warmprompt.data.understood import day
from warmprompt.data.understood import facts as understood

COLD_EVENTS = 5
# Upper ends of the histogram's bins; the last bin is open.
_EDGES = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Users with `low` to `high` events, both included; `high` is None in the open last bin."""

    low: int
    high: int | None
    num_users: int


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """Figures of one data set.

    Attributes:
        manifest: What was imported, with duplicates and rejects.
        num_rated_items: Items with at least one event.
        density: Events / (users x items with an event).
        events_per_user: Histogram; bins without users at either end are left out.
        median_events: Median events per user.
        p_cold: Share of users with at most `COLD_EVENTS` (5) events.
        first_s, last_s: Times of the first and the last event, or None without times.
        ratings: (rating, events) in rising order, at most 20 distinct values; empty otherwise.
        item_columns: Share of items for which each text or attribute is known.
        user_columns: Share of users for which each attribute is known.
    """

    manifest: Manifest
    num_rated_items: int
    density: float
    events_per_user: tuple[Bin, ...]
    median_events: float
    p_cold: float
    first_s: int | None
    last_s: int | None
    ratings: tuple[tuple[float, int], ...]
    item_columns: dict[str, float]
    user_columns: dict[str, float]

    def as_json(self) -> dict[str, Any]:
        """Return plain values, ready for `json.dumps`."""
        return dataclasses.asdict(self)


def describe_folder(folder: Path) -> DatasetDescription:
    """Describe the data set in `folder`.

    Raises:
        BadInputError, IntegrityError: As `open_dataset`.
    """
    return describe_dataset(open_dataset(folder), read_data_manifest(folder))


def describe_dataset(dataset: Dataset, manifest: Manifest) -> DatasetDescription:
    """Describe an open data set."""
    events = dataset.interactions
    counts = np.diff(events.offsets)
    num_rated = len(np.unique(events.items))
    times = events.times_s if events.times_s is not None and len(events) else None
    return DatasetDescription(
        manifest=manifest,
        num_rated_items=num_rated,
        density=len(events) / max(1, dataset.num_users * num_rated),
        events_per_user=_histogram(counts),
        median_events=float(np.median(counts)),
        p_cold=float(np.mean(counts <= COLD_EVENTS)),
        first_s=None if times is None else int(times.min()),
        last_s=None if times is None else int(times.max()),
        ratings=_rating_counts(dataset),
        item_columns=_known(dataset.items),
        user_columns=_known(dataset.users),
    )


def render_description(description: DatasetDescription) -> RenderableType:
    """Return the description for a terminal."""
    manifest = description.manifest
    facts = Table(title=manifest.name, show_header=False, title_justify="left")
    facts.add_column()
    facts.add_column(overflow="fold")
    for label, value in _facts(description):
        facts.add_row(label, value)
    widest = max(each.num_users for each in description.events_per_user)
    bars = Table(title="Users by number of events", title_justify="left")
    for column in ("events", "users", ""):
        bars.add_column(column, justify="left" if column == "" else "right")
    for each in description.events_per_user:
        bars.add_row(_span(each), f"{each.num_users:,}", "#" * round(40 * each.num_users / widest))
    rejects = Table(title="Rejects", title_justify="left")
    for column in ("table", "reason", "rows", "first lines"):
        rejects.add_column(column)
    for bad in manifest.rejects:
        rejects.add_row(bad.table, bad.reason, f"{bad.count:,}", ", ".join(map(str, bad.first_lines)))
    return Group(facts, bars, *([rejects] if manifest.rejects else []))


def _facts(description: DatasetDescription) -> list[tuple[str, str]]:
    manifest = description.manifest
    facts = [
        ("users", f"{manifest.num_users:,}"),
        ("items", f"{manifest.num_items:,} ({description.num_rated_items:,} with events)"),
        ("events", f"{manifest.num_events:,} (density {description.density:.2%})"),
        ("median events per user", f"{description.median_events:g}"),
        (f"cold users (at most {COLD_EVENTS} events)", f"{description.p_cold:.1%}"),
    ]
    if manifest.understood is not None:
        facts += understood(
            manifest.understood,
            source_format=manifest.source_format,
            scale=manifest.rating_scale,
            weight_unit=manifest.weight_unit,
        )
    else:
        facts += _facts_of_earlier_versions(description)
    if description.ratings:
        facts.append(("ratings", ", ".join(f"{value:g}: {count:,}" for value, count in description.ratings)))
    for label, columns in (("item", description.item_columns), ("user", description.user_columns)):
        if columns:
            facts.append((f"{label} columns known", ", ".join(f"{k} {v:.1%}" for k, v in columns.items())))
    facts.append(("duplicate events left out", f"{manifest.num_duplicates:,}"))
    if manifest.understood is not None and manifest.understood.num_idle_users:
        facts.append(("users without events left out", f"{manifest.understood.num_idle_users:,}"))
    if manifest.num_unrated_left_out:
        facts.append(("items without events left out", f"{manifest.num_unrated_left_out:,}"))
    rows, rejects = sum(manifest.num_rows_read.values()), sum(each.count for each in manifest.rejects)
    facts += [("rejects", f"{rejects:,} of {rows:,} rows"), ("content hash", manifest.content_hash)]
    return facts


def _facts_of_earlier_versions(description: DatasetDescription) -> list[tuple[str, str]]:
    """Return what a manifest of version 1 holds of how the source was read."""
    facts = [("format", description.manifest.source_format)]
    if description.first_s is not None and description.last_s is not None:
        facts.append(("period (UTC)", f"{day(description.first_s)} to {day(description.last_s)}"))
    if description.manifest.rating_scale is not None:
        facts.append(("rating scale", "{:g} to {:g}".format(*description.manifest.rating_scale)))
    return facts


def _histogram(counts: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[Bin, ...]:
    lows = (0, *(edge + 1 for edge in _EDGES))
    highs = (*_EDGES, None)
    which = np.searchsorted(_EDGES, counts)
    sizes = np.bincount(which, minlength=len(lows))
    bins = [
        Bin(low=low, high=high, num_users=int(size))
        for low, high, size in zip(lows, highs, sizes, strict=True)
    ]
    filled = [position for position, each in enumerate(bins) if each.num_users]
    return tuple(bins[filled[0] : filled[-1] + 1])


def _rating_counts(dataset: Dataset) -> tuple[tuple[float, int], ...]:
    ratings = dataset.interactions.ratings
    if ratings is None:
        return ()
    values, counts = np.unique(ratings[~np.isnan(ratings)], return_counts=True)
    if len(values) > 20:
        return ()
    return tuple((float(value), int(count)) for value, count in zip(values, counts, strict=True))


def _known(table: pl.DataFrame) -> dict[str, float]:
    """Return the share of rows in which each column holds something."""
    shares = {}
    for series in table.iter_columns():
        empty = series.list.len().fill_null(0) == 0 if series.dtype == pl.List else series.fill_null("") == ""
        shares[series.name] = 1 - float(empty.mean() or 0)  # type: ignore[arg-type]
    return shares


def _span(each: Bin) -> str:
    if each.high is None:
        return f"{each.low}+"
    return str(each.low) if each.low == each.high else f"{each.low}-{each.high}"
