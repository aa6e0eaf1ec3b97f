"""MovieLens as GroupLens publishes it: 100K (u.*), 1M (*.dat) and the CSV releases.

All titles end with the year, "Toy Story (1995)", which is also given as `year`. Zip codes, IMDb
addresses and release days are dropped. Sources: the README of each archive.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from warmprompt.data.readers.cleaning import cleaned
from warmprompt.data.readers.columnar import parquet_rows, require_columns
from warmprompt.data.readers.delimited import Delimited, header_names, open_fields, open_table
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source
from warmprompt.data.readers.words import ML1M_AGES, ML1M_OCCUPATIONS, gender_word, year_in_title
from warmprompt.errors import BadInputError

_EVENT = ("user", "item", "rating", "time")
_MOVIE = ("item", "title", "genres")
_UNUSED_100K = ("released", "video", "address")
_USERS_1M = ("user", "gender", "age", "occupation", "zip_code")
_NO_GENRES = "(no genres listed)"
_ORDERED = "ratings_timeordered.parquet"
# The order of the 0/1 columns of u.item.
_GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary"),
    *("Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi"),
    *("Thriller", "War", "Western"),
)


def recognises_100k(path: Path) -> bool:
    """Tell whether the folder holds u.data."""
    return (path / "u.data").is_file()


def recognises_1m(path: Path) -> bool:
    """Tell whether the folder holds ratings.dat and users.dat (the 10M release has no users.dat)."""
    return (path / "ratings.dat").is_file() and (path / "users.dat").is_file()


def recognises_ordered(path: Path) -> bool:
    """Tell whether the folder holds 1M's movies with ratings_timeordered.parquet."""
    return (path / _ORDERED).is_file() and (path / "movies.dat").is_file()


def recognises_csv(path: Path) -> bool:
    """Tell whether the folder holds ratings.csv with GroupLens' column names."""
    ratings = path / "ratings.csv"
    return ratings.is_file() and {"userId", "movieId"} <= set(header_names(ratings))


def read_100k(path: Path, options: ReadOptions | None = None) -> Source:
    """Return MovieLens-100K: u.data, u.item and u.user."""
    options = options or ReadOptions()
    events = _fields(path / "u.data", _EVENT, "\t", options)
    items = _fields(path / "u.item", ("item", "title", *_UNUSED_100K, *_GENRES_100K), "|", options)
    users = _fields(path / "u.user", ("user", "age", "gender", "occupation", "zip_code"), "|", options)
    source = Source(
        format="movielens-100k",
        files=_paths(events, items, users),
        events=events.rows,
        items=_items_100k(items),
        users=_users_100k(users),
        rating_scale=(1.0, 5.0),
        unused={"items": _UNUSED_100K, "users": ("zip_code",)},
        encodings=_written(events, items, users),
    )
    return cleaned(source, options.null_values)


def read_1m(path: Path, options: ReadOptions | None = None) -> Source:
    """Return MovieLens-1M: ratings.dat, movies.dat and users.dat; age bands and occupations in words."""
    options = options or ReadOptions()
    events = _fields(path / "ratings.dat", _EVENT, "::", options)
    items = _fields(path / "movies.dat", _MOVIE, "::", options)
    users = _fields(path / "users.dat", _USERS_1M, "::", options)
    source = Source(
        format="movielens-1m",
        files=_paths(events, items, users),
        events=events.rows,
        items=_movies(items),
        users=_users_1m(users),
        rating_scale=(1.0, 5.0),
        unused={"users": ("zip_code",)},
        encodings=_written(events, items, users),
    )
    return cleaned(source, options.null_values)


def read_ordered(path: Path, options: ReadOptions | None = None) -> Source:
    """Return MovieLens-1M without times: the rows of the ratings stand in each user's time order."""
    options = options or ReadOptions()
    events = _present(path / _ORDERED)
    items = _fields(path / "movies.dat", _MOVIE, "::", options)
    users = _fields(path / "users.dat", _USERS_1M, "::", options)

    def start(_log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in parquet_rows(events, columns=("user_id", "movie_id", "rating")):
            # As text, because movies.dat spells ids as text; both become integers again.
            ids = pl.col("user_id", "movie_id").cast(pl.String)
            yield frame.with_columns(ids).rename({"user_id": "user", "movie_id": "item"})

    source = Source(
        format="movielens-1m-ordered",
        files=(events, *_paths(items, users)),
        events=start,
        items=_movies(items),
        users=_users_1m(users),
        has_time=False,
        rating_scale=(1.0, 5.0),
        unused={"users": ("zip_code",)},
        encodings=_written(items, users),
    )
    return cleaned(source, options.null_values)


def read_csv(path: Path, options: ReadOptions | None = None) -> Source:
    """Return a CSV release (latest, 20M, 25M, 32M): ratings.csv and movies.csv."""
    options = options or ReadOptions()
    known = {"user": "userId", "item": "movieId", "rating": "rating", "time": "timestamp"}
    named = {**known, **(options.columns or {})}
    if wrong := [name for name in named if name not in known]:
        raise BadInputError(
            field="--map", value=wrong[0], remedy=f"In this format name only {', '.join(known)}."
        )
    events = open_table(_present(path / "ratings.csv"), options=options.text)
    items = open_table(_present(path / "movies.csv"), lead=False, options=options.text)
    of_items = {"item": named["item"] if named["item"] in items.columns else known["item"]}
    source = Source(
        format="movielens-csv",
        files=_paths(events, items),
        events=_renamed(events, named).rows,
        items=_movies(_renamed(items, of_items)),
        rating_scale=(0.5, 5.0),
        used={"interactions": named},
        unused={
            "interactions": tuple(name for name in events.columns if name not in named.values()),
            "items": tuple(name for name in items.columns if name not in (of_items["item"], *_MOVIE)),
        },
        encodings=_written(events, items),
    )
    return cleaned(source, options.null_values)


def _paths(*files: Delimited) -> tuple[Path, ...]:
    return tuple(each.text.path for each in files)


def _written(*files: Delimited) -> dict[str, str]:
    return {each.text.path.name: each.said() for each in files}


def _present(file: Path) -> Path:
    if not file.is_file():
        raise BadInputError(field=str(file), value="no such file", remedy="Give the whole published folder.")
    return file


def _fields(path: Path, columns: tuple[str, ...], separator: str, options: ReadOptions) -> Delimited:
    return open_fields(_present(path), columns, separator=separator, options=options.text)


def _renamed(table: Delimited, named: Mapping[str, str]) -> Delimited:
    """Return the table with its columns under our names."""
    require_columns(table.text.path, table.columns, tuple(named.values()))
    ours = {theirs: name for name, theirs in named.items()}
    # A column that another one takes the name of keeps a name that is not ours.
    columns = (ours.get(column, f"({column})" if column in named else column) for column in table.columns)
    return replace(table, columns=tuple(columns))


def _movies(table: Delimited) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            genres = pl.col("genres").str.split("|").list.filter(~pl.element().is_in(["", _NO_GENRES]))
            yield frame.select(LINE, "item", "title", year_in_title().alias("year"), genres)

    return start


def _items_100k(table: Delimited) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K]
            genres = pl.concat_list(flags).list.drop_nulls().alias("genres")
            yield frame.select(LINE, "item", "title", year_in_title().alias("year"), genres)

    return start


def _users_100k(table: Delimited) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            yield frame.select(LINE, "user", "age", gender_word("gender"), "occupation")

    return start


def _users_1m(table: Delimited) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            known = pl.col("age").is_in(list(ML1M_AGES)) & pl.col("occupation").is_in(list(ML1M_OCCUPATIONS))
            log.reject("unknown age or occupation code", frame.filter(~known)[LINE].to_list())
            yield frame.filter(known).select(
                LINE,
                "user",
                pl.col("age").replace_strict(ML1M_AGES, return_dtype=pl.String),
                gender_word("gender"),
                pl.col("occupation").replace_strict(ML1M_OCCUPATIONS, return_dtype=pl.String),
            )

    return start
