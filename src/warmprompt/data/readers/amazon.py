"""Amazon Reviews of 2014, 2018 and 2023: review and metadata JSON lines, plain or gzip.

The releases differ in field names; which one a file belongs to is told by its first object.
Metadata of 2014 is written as Python literals. Sources: the field lists of the three releases,
https://jmcauley.ucsd.edu/data/amazon/, https://nijianmo.github.io/amazon/ and
https://amazon-reviews-2023.github.io/.
"""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from warmprompt.data.readers.json_lines import first_object, id_column, json_objects, text_of, with_plain_ids
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
        categories="category",
        brand="brand",
        department="main_cat",
    ),
)


def recognises(path: Path) -> bool:
    """Tell whether the folder holds exactly one file of reviews, or the path is one."""
    return len(_reviews_among(_objects_of(path))) == 1


def read(path: Path) -> Source:
    """Return reviews as events and, where a metadata file lies beside them, the items they name.

    Items get `title`, `categories` (each once, in order), `brand` (2023: the store), `department`
    and `description`, with HTML entities decoded. Metadata of items without a review is left out.

    Raises:
        BadInputError: No or several review files, or several metadata files.
    """
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
    return Source(
        format=f"amazon-{release.year}",
        files=(*reviews, *metadata),
        events=_events(reviews[0], release),
        items=_items(metadata[0], release) if metadata else None,
        typed_ids=True,
        time_unit=release.time_unit,
        rating_scale=(1.0, 5.0),
        unrated_items=False,
    )


def _objects_of(path: Path) -> dict[Path, Mapping[str, Any]]:
    """Return the first object of each JSON lines file."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    named = [file for file in files if file.is_file() and file.name.lower().endswith(_SUFFIXES)]
    return {file: first_object(file) for file in named}


def _reviews_among(firsts: Mapping[Path, Mapping[str, Any]]) -> list[Path]:
    return [
        file
        for file, first in firsts.items()
        if any(each.user in first and each.item in first and each.rating in first for each in _RELEASES)
    ]


def _events(path: Path, release: _Release) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        ids = {"user": release.user, "item": release.item}
        for found in json_objects(path, log):
            objects = with_plain_ids(found, ids, log)
            lines = [line for line, _ in objects]
            yield pl.DataFrame(
                [
                    pl.Series(LINE, lines, dtype=pl.Int64),
                    id_column("user", [each.get(release.user) for _, each in objects]),
                    id_column("item", [each.get(release.item) for _, each in objects]),
                    pl.Series(
                        "rating", [text_of(each.get(release.rating)) for _, each in objects], dtype=pl.String
                    ),
                    pl.Series(
                        "time", [text_of(each.get(release.time)) for _, each in objects], dtype=pl.String
                    ),
                ]
            )

    return start


def _items(path: Path, release: _Release) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for found in json_objects(path, log, python_literals=True):
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
    texts = (text_of(value) for value in values)
    return pl.Series(name, [None if text is None else html.unescape(text) for text in texts], dtype=pl.String)


def _flat(value: Any) -> list[str]:
    """Return the texts of a string, a list, or a list of lists."""
    if isinstance(value, list):
        return [text for each in value for text in _flat(each)]
    text = text_of(value)
    return [] if text is None else [html.unescape(text)]


def _distinct(value: Any) -> list[str]:
    return list(dict.fromkeys(_flat(value)))
