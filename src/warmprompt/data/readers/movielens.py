"""MovieLens as GroupLens publishes it: 100K (u.*), 1M (*.dat) and the CSV releases.

All titles end with the year, "Toy Story (1995)", which is also given as `year`. Zip codes, IMDb
addresses and release days are dropped. Sources: the README of each archive.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from warmprompt.data.readers.columnar import parquet_rows
from warmprompt.data.readers.delimited import CSV, Dialect, delimited_rows, header_of
from warmprompt.data.readers.source import LINE, Frames, RejectLog, Source
from warmprompt.data.readers.words import ML1M_AGES, ML1M_OCCUPATIONS, gender_word, year_in_title
from warmprompt.errors import BadInputError

_TABS = Dialect(separator="\t")
_BARS = Dialect(separator="|", encoding="latin-1")
_COLONS = Dialect(separator="::", encoding="latin-1")
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
    return ratings.is_file() and {"userId", "movieId"} <= set(header_of(ratings, CSV))


def read_100k(path: Path) -> Source:
    """Return MovieLens-100K: u.data, u.item and u.user."""
    events, items, users = path / "u.data", path / "u.item", path / "u.user"
    return Source(
        format="movielens-100k",
        files=_present(events, items, users),
        events=_plain(events, _TABS, ("user", "item", "rating", "time")),
        items=_items_100k(items),
        users=_users_100k(users),
        rating_scale=(1.0, 5.0),
    )


def read_1m(path: Path) -> Source:
    """Return MovieLens-1M: ratings.dat, movies.dat and users.dat; age bands and occupations in words."""
    events, items, users = path / "ratings.dat", path / "movies.dat", path / "users.dat"
    return Source(
        format="movielens-1m",
        files=_present(events, items, users),
        events=_plain(events, _COLONS, ("user", "item", "rating", "time")),
        items=_movies(items, _COLONS, ("item", "title", "genres")),
        users=_users_1m(users),
        rating_scale=(1.0, 5.0),
    )


def read_ordered(path: Path) -> Source:
    """Return MovieLens-1M without times: the rows of the ratings stand in each user's time order."""
    events, items, users = path / _ORDERED, path / "movies.dat", path / "users.dat"

    def start(_log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in parquet_rows(events, columns=("user_id", "movie_id", "rating")):
            # As text, because movies.dat spells ids as text; both become integers again.
            ids = pl.col("user_id", "movie_id").cast(pl.String)
            yield frame.with_columns(ids).rename({"user_id": "user", "movie_id": "item"})

    return Source(
        format="movielens-1m-ordered",
        files=_present(events, items, users),
        events=start,
        items=_movies(items, _COLONS, ("item", "title", "genres")),
        users=_users_1m(users),
        has_time=False,
        rating_scale=(1.0, 5.0),
    )


def read_csv(path: Path) -> Source:
    """Return a CSV release (latest, 20M, 25M, 32M): ratings.csv and movies.csv."""
    events, items = path / "ratings.csv", path / "movies.csv"
    ours = {"userId": "user", "movieId": "item", "timestamp": "time"}
    return Source(
        format="movielens-csv",
        files=_present(events, items),
        events=_plain(events, CSV, _named(events, ours, ("user", "item", "rating", "time"))),
        items=_movies(items, CSV, _named(items, ours, ("item", "title", "genres"))),
        rating_scale=(0.5, 5.0),
    )


def _present(*files: Path) -> tuple[Path, ...]:
    for file in files:
        if not file.is_file():
            raise BadInputError(
                field=str(file), value="no such file", remedy="Give the whole published folder."
            )
    return files


def _named(path: Path, ours: dict[str, str], needed: tuple[str, ...]) -> tuple[str, ...]:
    header = header_of(path, CSV)
    names = tuple(ours.get(column, column) for column in header)
    if missing := [name for name in needed if name not in names]:
        raise BadInputError(
            field=f"{path}, line 1", value=",".join(header), remedy=f"Add the column for {missing[0]}."
        )
    return names


def _plain(path: Path, dialect: Dialect, columns: tuple[str, ...]) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        return delimited_rows(path, log, dialect=dialect, columns=columns)

    return start


def _movies(path: Path, dialect: Dialect, columns: tuple[str, ...]) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in delimited_rows(path, log, dialect=dialect, columns=columns):
            genres = pl.col("genres").str.split("|").list.filter(~pl.element().is_in(["", _NO_GENRES]))
            yield frame.select(LINE, "item", "title", year_in_title().alias("year"), genres)

    return start


def _items_100k(path: Path) -> Frames:
    columns = ("item", "title", "released", "video", "address", *_GENRES_100K)

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in delimited_rows(path, log, dialect=_BARS, columns=columns):
            flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K]
            genres = pl.concat_list(flags).list.drop_nulls().alias("genres")
            yield frame.select(LINE, "item", "title", year_in_title().alias("year"), genres)

    return start


def _users_100k(path: Path) -> Frames:
    columns = ("user", "age", "gender", "occupation", "zip_code")

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in delimited_rows(path, log, dialect=_BARS, columns=columns):
            yield frame.select(LINE, "user", "age", gender_word("gender"), "occupation")

    return start


def _users_1m(path: Path) -> Frames:
    columns = ("user", "gender", "age", "occupation", "zip_code")

    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in delimited_rows(path, log, dialect=_COLONS, columns=columns):
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
