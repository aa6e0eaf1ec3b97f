"""Readers: one file per family of formats, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from warmprompt.data.readers import amazon, movielens, recbole, sequences
from warmprompt.data.readers.source import Source
from warmprompt.errors import BadInputError, UnknownNameError

__all__ = ["FORMATS", "Format", "read_folder"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that is recognised by its files.

    Attributes:
        recognises: Tells whether a folder (or file) holds it; looks at names and first lines only.
        read: Returns the source.
        files: What a folder of this format holds, for people.
    """

    recognises: Callable[[Path], bool]
    read: Callable[[Path], Source]
    files: str


FORMATS: dict[str, Format] = {
    "movielens-100k": Format(
        recognises=movielens.recognises_100k, read=movielens.read_100k, files="u.data, u.item, u.user"
    ),
    "movielens-1m": Format(
        recognises=movielens.recognises_1m, read=movielens.read_1m, files="ratings.dat, movies.dat, users.dat"
    ),
    "movielens-1m-ordered": Format(
        recognises=movielens.recognises_ordered,
        read=movielens.read_ordered,
        files="ratings_timeordered.parquet, movies.dat, users.dat",
    ),
    "movielens-csv": Format(
        recognises=movielens.recognises_csv, read=movielens.read_csv, files="ratings.csv, movies.csv"
    ),
    "amazon": Format(
        recognises=amazon.recognises, read=amazon.read, files="reviews and metadata as .json(l), .json(l).gz"
    ),
    "recbole": Format(recognises=recbole.recognises, read=recbole.read, files="NAME.inter (.item, .user)"),
    "sequences": Format(
        recognises=sequences.recognises, read=sequences.read, files="sequences.parquet, items.parquet"
    ),
}


def read_folder(path: Path, *, format_name: str | None = None) -> Source:
    """Return the source under `path`, in the format given or the only one that is recognised.

    Raises:
        UnknownNameError: No such format.
        BadInputError: Nothing there, no format or several recognised, or files missing.
    """
    if format_name is not None and format_name not in FORMATS:
        raise UnknownNameError(
            field="--format", value=format_name, remedy=f"Choose one of {', '.join(FORMATS)}."
        )
    if not path.exists():
        raise BadInputError(field=str(path), value="no such file or folder", remedy="Give one that exists.")
    if format_name is not None:
        return FORMATS[format_name].read(path)
    found = [name for name, each in FORMATS.items() if each.recognises(path)]
    if len(found) == 1:
        return FORMATS[found[0]].read(path)
    known = "; ".join(f"{name}: {each.files}" for name, each in FORMATS.items())
    raise BadInputError(
        field=str(path),
        value=f"recognised as {', '.join(found)}" if found else "no known format",
        remedy=f"Give --format, or name the columns with --map (known: {known}).",
    )
