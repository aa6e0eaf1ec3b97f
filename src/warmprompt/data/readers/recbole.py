"""RecBole atomic files: NAME.inter, NAME.item, NAME.user, tab separated, headers like "rating:float".

Source: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from warmprompt.data.readers.delimited import Dialect, delimited_rows, header_of
from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source
from warmprompt.data.readers.words import gender_word
from warmprompt.errors import BadInputError

_DIALECT = Dialect(separator="\t", header=True)
_TYPES = ("token", "token_seq", "float", "float_seq")
_SINGLE = ("user", "item", "rating", "label", "weight", "time")
_NAMES = {
    "user_id": "user",
    "item_id": "item",
    "timestamp": "time",
    "movie_title": "title",
    "item_name": "title",
    "name": "title",
    "class": "genres",
    "genre": "genres",
    "release_year": "year",
    "category": "categories",
    "play_count": "weight",
    "playcount": "weight",
    "plays": "weight",
    "listen_count": "weight",
}
# Columns of 0 and 1 that say whether anything came of showing an item, the first one that is there; those in
# `_LESS` only in files without ratings.
_LABELS = ("label", "click", "clicked", "is_click", "is_clicked", "clk", "click_label")
_LESS = (
    *("interacted", "watched", "is_watched", "long_view", "like", "liked", "is_like", "is_liked"),
    *("purchase", "purchased", "is_purchase", "is_purchased", "bought", "buy", "is_buy", "conversion"),
)
_DROPPED = frozenset({"zip_code", "zip", "zipcode"})


def recognises(path: Path) -> bool:
    """Tell whether the folder holds exactly one .inter file, or the path is one."""
    return len(_inter_files(path)) == 1


def read(path: Path) -> Source:
    """Return the data set of a folder with NAME.inter and perhaps NAME.item and NAME.user.

    `class` and `genre` become `genres`; a title gets its release year in brackets, as MovieLens
    writes it, where the year stands in a column of its own. Zip codes are dropped.

    Raises:
        BadInputError: No or several .inter files, or a header that is not `name:type`.
    """
    found = _inter_files(path)
    if len(found) != 1:
        raise BadInputError(
            field=str(path), value=f"{len(found)} .inter files", remedy="Give a folder with one."
        )
    events = found[0]
    items, users = events.with_suffix(".item"), events.with_suffix(".user")
    columns = [name for name, _ in _typed_header(events)]
    files = {"interactions": events, "items": items, "users": users}
    told = {table: _used_and_unused(file) for table, file in files.items() if file.exists()}
    return Source(
        format="recbole",
        files=tuple(file for file in (events, items, users) if file.exists()),
        events=_frames(events, wanted=_SINGLE),
        items=_item_frames(items) if items.exists() else None,
        users=_user_frames(users) if users.exists() else None,
        has_rating="rating" in columns,
        has_time="time" in columns,
        has_label="label" in columns,
        has_weight="weight" in columns,
        used={table: used for table, (used, _) in told.items()},
        unused={table: unused for table, (_, unused) in told.items()},
    )


def _inter_files(path: Path) -> list[Path]:
    if path.suffix == ".inter" and path.is_file():
        return [path]
    return sorted(path.glob("*.inter")) if path.is_dir() else []


def _used_and_unused(path: Path) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return our names to the file's columns, and the columns that mean nothing here."""
    pairs = list(zip((name for name, _ in _typed_header(path)), header_of(path, _DIALECT), strict=True))
    known = {
        ours: theirs
        for ours, theirs in pairs
        if ours not in _DROPPED and (path.suffix != ".inter" or ours in _SINGLE)
    }
    return known, tuple(theirs for _, theirs in pairs if theirs not in known.values())


def _label_among(names: list[str]) -> str | None:
    """Return the column of a .inter file that says whether anything came of showing an item."""
    candidates = _LABELS if "rating" in names else (*_LABELS, *_LESS)
    return next((name for name in candidates if name in names), None)


def _typed_header(path: Path) -> list[tuple[str, str]]:
    """Return (our name, type) per column."""
    typed = []
    for column in header_of(path, _DIALECT):
        name, colon, kind = column.rpartition(":")
        if not colon or kind not in _TYPES:
            raise BadInputError(
                field=f"{path}, line 1",
                value=column,
                remedy=f"Write name:type with a type of {', '.join(_TYPES)}.",
            )
        ours = _NAMES.get(name, name)
        if kind.endswith("_seq") and ours in _SINGLE:
            raise BadInputError(
                field=f"{path}, line 1", value=column, remedy=f"Give the {ours} as one value: {name}:token."
            )
        typed.append((ours, kind))
    names = [name for name, _ in typed]
    if path.suffix == ".inter" and (label := _label_among(names)):
        typed = [("label" if name == label else name, kind) for name, kind in typed]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise BadInputError(
            field=f"{path}, line 1", value=repeated[0], remedy="Keep one column that means it."
        )
    return typed


def _frames(path: Path, *, wanted: tuple[str, ...] | None = None) -> Frames:
    typed = _typed_header(path)
    names = [name for name, _ in typed]
    lists = [name for name, kind in typed if kind.endswith("_seq") and name != "title"]
    needed = {".inter": ("user", "item"), ".item": ("item",), ".user": ("user",)}[path.suffix]
    for name in needed:
        if name not in names:
            raise BadInputError(field=f"{path}, line 1", value=names, remedy=f"Add a column {name}_id:token.")

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in delimited_rows(path, log, dialect=_DIALECT, columns=names):
            kept = [n for n in names if n not in _DROPPED and (wanted is None or n in wanted)]
            split = [pl.col(n).str.split(" ").list.filter(pl.element() != "") for n in lists if n in kept]
            yield frame.select(LINE, *kept).with_columns(*split)

    return start


def _item_frames(path: Path) -> Frames:
    frames = _frames(path)

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in frames(log):
            yield _with_year_in_title(frame) if {"title", "year"} <= set(frame.columns) else frame

    return start


def _with_year_in_title(frame: pl.DataFrame) -> pl.DataFrame:
    title, year = pl.col("title"), pl.col("year")
    undated = year.str.contains(r"^\d{4}$") & ~title.str.ends_with(pl.format("({})", year))
    return frame.with_columns(
        pl.when(undated).then(pl.format("{} ({})", title, year)).otherwise(title).alias("title")
    )


def _user_frames(path: Path) -> Frames:
    frames = _frames(path)

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in frames(log):
            yield frame.with_columns(gender_word("gender")) if "gender" in frame.columns else frame

    return start
