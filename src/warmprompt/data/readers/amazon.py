"""Amazon Reviews of 2014, 2018 and 2023: review and metadata JSON lines, plain or gzip.

The releases differ in field names; a file's first object shows which it is.
Metadata of 2014 is written as Python literals. Sources: the field lists of the three releases,
https://jmcauley.ucsd.edu/data/amazon/, https://nijianmo.github.io/amazon/ and
https://amazon-reviews-2023.github.io/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from warmprompt.data.readers.cleaning import cleaned
from warmprompt.data.readers.generic import MappedFile, open_mapped, source_of
from warmprompt.data.readers.json_lines import (
    first_objects,
    id_column,
    json_objects,
    scalar_text,
    with_plain_ids,
)
from warmprompt.data.readers.lines import TextFile, open_text
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source, TimeUnit
from warmprompt.errors import BadInputError

_SUFFIXES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True, kw_only=True)
class _Release:
    """Field names of one release; `mark` is a review field that only it has."""

    year: int
    mark: str
    user: str
    item: str
    rating: str
    time: str
    time_unit: TimeUnit
    text: str
    categories: str
    brand: str
    department: str


_RELEASES = (
    _Release(
        year=2023,
        mark="parent_asin",
        user="user_id",
        item="parent_asin",
        rating="rating",
        time="timestamp",
        time_unit="ms",
        text="text",
        categories="categories",
        brand="store",
        department="main_category",
    ),
    _Release(
        year=2014,
        mark="helpful",
        user="reviewerID",
        item="asin",
        rating="overall",
        time="unixReviewTime",
        time_unit="s",
        text="reviewText",
        categories="categories",
        brand="brand",
        department="main_cat",
    ),
    _Release(
        year=2018,
        mark="reviewerID",
        user="reviewerID",
        item="asin",
        rating="overall",
        time="unixReviewTime",
        time_unit="s",
        text="reviewText",
        categories="category",
        brand="brand",
        department="main_cat",
    ),
)


def recognises(path: Path) -> bool:
    """Tell whether the folder holds exactly one file of reviews, or the path is one."""
    return len(_reviews_among(_objects_of(path))) == 1


def read(path: Path, options: ReadOptions | None = None) -> Source:
    """Return reviews as events, with their texts, and the items of a metadata file next to them.

    Items get `title`, `categories` (each once, in order), `brand` (2023: the store), `department`
    and `description`. Metadata of items without a review is left out.

    Raises:
        BadInputError: No or several review files, or several metadata files.
    """
    options = options or ReadOptions()
    firsts = _objects_of(path)
    reviews = _reviews_among(firsts)
    metadata = [
        file
        for file, first in firsts.items()
        if file not in reviews and ("asin" in first or "parent_asin" in first)
    ]
    if len(reviews) != 1 or len(metadata) > 1:
        raise BadInputError(
            field=str(path),
            value=f"{len(reviews)} review files and {len(metadata)} metadata files",
            remedy="Give a folder with one file of reviews and at most one of metadata.",
        )
    release = next(each for each in _RELEASES if each.mark in firsts[reviews[0]])
    known = {"user": release.user, "item": release.item, "rating": release.rating, "time": release.time}
    mapping = {**known, **(options.columns or {})}
    opened = open_mapped(MappedFile(path=reviews[0], mapping=mapping), ("user", "item"), text=options.text)
    if "text" not in mapping and release.text in opened.table.unused(mapping):
        opened = replace(opened, mapping={**mapping, "text": release.text})
    source = source_of(
        opened,
        format_name=f"amazon-{release.year}",
        null_values=options.null_values,
    )
    if metadata:
        text = open_text(metadata[0], encoding=options.text.encoding)
        source = replace(
            source,
            files=(*source.files, metadata[0]),
            items=_items(text, release),
            unused={**source.unused, "items": _unused(firsts[metadata[0]], release)},
            encodings={**source.encodings, metadata[0].name: f"{text.encoding}, {text.line_ends}"},
        )
        source = replace(cleaned(source, options.null_values), events=source.events)
    unit = release.time_unit if mapping["time"] == release.time else None
    return replace(source, time_unit=unit, rating_scale=(1.0, 5.0), unrated_items=False)


def _unused(first: Mapping[str, Any], release: _Release) -> tuple[str, ...]:
    """Return the fields of metadata that are left out."""
    used = (release.item, release.categories, release.brand, release.department, "title", "description")
    return tuple(field for field in first if field not in used)


def _objects_of(path: Path) -> dict[Path, Mapping[str, Any]]:
    """Return the first object of each JSON lines file."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    named = [file for file in files if file.is_file() and file.name.lower().endswith(_SUFFIXES)]
    return {file: next(iter(first_objects(file)), {}) for file in named}


def _reviews_among(firsts: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    return [
        file
        for file, first in firsts.items()
        if any(each.user in first and each.item in first and each.rating in first for each in _RELEASES)
    ]


def _items(text: TextFile, release: _Release) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for found in json_objects(text, log):
            objects = with_plain_ids(found, {"item": release.item}, log)
            lines = [line for line, _ in objects]
            yield pl.DataFrame(
                [
                    pl.Series(LINE, lines, dtype=pl.Int64),
                    id_column("item", [each.get(release.item) for _, each in objects]),
                    _texts("title", [each.get("title") for _, each in objects]),
                    pl.Series(
                        "categories",
                        [_distinct(each.get(release.categories)) for _, each in objects],
                        dtype=pl.List(pl.String),
                    ),
                    _texts("brand", [each.get(release.brand) for _, each in objects]),
                    _texts("department", [each.get(release.department) for _, each in objects]),
                    _texts("description", [" ".join(_flat(each.get("description"))) for _, each in objects]),
                ]
            )

    return start


def _texts(name: str, values: list[Any]) -> pl.Series:
    return pl.Series(name, [scalar_text(value) for value in values], dtype=pl.String)


def _flat(value: Any) -> list[str]:
    """Return the texts of a string, a list, or a list of lists."""
    if isinstance(value, list):
        return [text for each in value for text in _flat(each)]
    text = scalar_text(value)
    return [] if text is None else [text]


def _distinct(value: Any) -> list[str]:
    return list(dict.fromkeys(_flat(value)))
