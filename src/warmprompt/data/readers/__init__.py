"""Readers: one file per family of formats, and the table that names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from warmprompt.data.readers import amazon, movielens, recbole, sequences
from warmprompt.data.readers.cleaning import cleaned_rows
from warmprompt.data.readers.delimited import TextOptions
from warmprompt.data.readers.generic import MappedFile, frames_of, open_mapped, read_mapped
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import Source
from warmprompt.errors import BadInputError, UnknownNameError

__all__ = ["FORMATS", "Format", "ReadOptions", "TextOptions", "open_source", "read_folder"]


@dataclass(frozen=True, kw_only=True)
class Format:
    """A format that is recognised by its files.

    Attributes:
        recognises: Tells whether a folder (or file) holds it; looks at names and first lines only.
        read: Returns the source.
        files: What a folder of this format holds, for people.
        takes: Those of the options that only some formats can use, as they are written.
    """

    recognises: Callable[[Path], bool]
    read: Callable[[Path, ReadOptions | None], Source]
    files: str
    takes: frozenset[str] = frozenset()


_TEXT = frozenset({"--encoding", "--separator"})
FORMATS: dict[str, Format] = {
    "movielens-100k": Format(
        recognises=movielens.recognises_100k,
        read=movielens.read_100k,
        files="u.data, u.item, u.user",
        takes=_TEXT,
    ),
    "movielens-1m": Format(
        recognises=movielens.recognises_1m,
        read=movielens.read_1m,
        files="ratings.dat, movies.dat, users.dat",
        takes=_TEXT,
    ),
    "movielens-1m-ordered": Format(
        recognises=movielens.recognises_ordered,
        read=movielens.read_ordered,
        files="ratings_timeordered.parquet, movies.dat, users.dat",
        takes=_TEXT,
    ),
    "movielens-csv": Format(
        recognises=movielens.recognises_csv,
        read=movielens.read_csv,
        files="ratings.csv, movies.csv",
        takes=_TEXT | {"--map"},
    ),
    "amazon": Format(
        recognises=amazon.recognises,
        read=amazon.read,
        files="reviews and metadata as .json(l), .json(l).gz",
        takes=frozenset({"--encoding", "--map"}),
    ),
    "recbole": Format(
        recognises=recbole.recognises,
        read=recbole.read,
        files="NAME.inter (.item, .user)",
        takes=_TEXT | {"--map", "--items-map", "--users-map"},
    ),
    "sequences": Format(
        recognises=sequences.recognises, read=sequences.read, files="sequences.parquet, items.parquet"
    ),
}


def open_source(path: Path, options: ReadOptions | None = None, *, format_name: str | None = None) -> Source:
    """Return the source under `path`: a folder or file in a known format, or a file whose columns are named.

    A file with a mapping is read as any file is, unless a format is named or it is an atomic file.

    Raises:
        UnknownNameError: No such format.
        BadInputError: Nothing there, no format or several recognised, files missing, or an option that
            this source cannot use.
    """
    options = options or ReadOptions()
    known = format_name is not None or options.columns is None or path.is_dir() or recbole.recognises(path)
    if known:
        source = _read_known(path, options, format_name)
    else:
        source = read_mapped(
            MappedFile(path=path, mapping=options.columns or {}),
            items=_side("--items", options.items, options.items_columns),
            users=_side("--users", options.users, options.users_columns),
            time_unit=options.time_unit,
            options=options,
        )
    for option, value, has, what in (
        ("--time-unit", options.time_unit, source.has_time, "time"),
        ("--rating-scale", options.rating_scale, source.has_rating, "rating"),
    ):
        if value is not None and not has:
            raise BadInputError(field=option, value=value, remedy=f"Leave it out: no column is the {what}.")
    return replace(
        source,
        time_unit=options.time_unit or source.time_unit,
        rating_scale=options.rating_scale or source.rating_scale,
    )


def read_folder(path: Path, *, format_name: str | None = None) -> Source:
    """Return the source under `path`, in the format given or the only one that is recognised.

    Raises:
        UnknownNameError: No such format.
        BadInputError: Nothing there, no format or several recognised, or files missing.
    """
    return _read_known(path, ReadOptions(), format_name)


def _read_known(path: Path, options: ReadOptions, format_name: str | None) -> Source:
    name = _format_of(path, format_name)
    _refuse_options(name, options)
    source = FORMATS[name].read(path, options)
    items = _side("--items", options.items, options.items_columns if options.items else None)
    users = _side("--users", options.users, options.users_columns if options.users else None)
    for table, side in (("items", items), ("users", users)):
        if side is not None:
            source = _with_side(source, table, side, options)
    return source


def _with_side(source: Source, table: str, file: MappedFile, options: ReadOptions) -> Source:
    """Replace what a format says of its items or users by a file that the caller names."""
    opened = open_mapped(file, (table.removesuffix("s"),), text=options.text)
    frames = cleaned_rows(frames_of(opened, typed=opened.table.typed), options.null_values, texts=True)
    source = replace(source, items=frames) if table == "items" else replace(source, users=frames)
    written = {file.path.name: opened.table.written} if opened.table.written else {}
    return replace(
        source,
        files=(*source.files, file.path),
        typed_ids=source.typed_ids and opened.table.typed,
        used={**source.used, table: dict(file.mapping)},
        unused={**source.unused, table: opened.table.unused(file.mapping)},
        encodings={**source.encodings, **written},
    )


def _side(option: str, path: Path | None, columns: Mapping[str, str] | None) -> MappedFile | None:
    if path is None and columns is None:
        return None
    if path is None or columns is None:
        given = path or ",".join(f"{ours}={theirs}" for ours, theirs in (columns or {}).items())
        raise BadInputError(field=option, value=given, remedy=f"Give {option} and {option}-map together.")
    return MappedFile(path=path, mapping=columns)


def _format_of(path: Path, format_name: str | None) -> str:
    if format_name is not None and format_name not in FORMATS:
        raise UnknownNameError(
            field="--format", value=format_name, remedy=f"Choose one of {', '.join(FORMATS)}."
        )
    if not path.exists():
        raise BadInputError(field=str(path), value="no such file or folder", remedy="Give one that exists.")
    if format_name is not None:
        return format_name
    found = [name for name, each in FORMATS.items() if each.recognises(path)]
    if len(found) == 1:
        return found[0]
    known = "; ".join(f"{name}: {each.files}" for name, each in FORMATS.items())
    raise BadInputError(
        field=str(path),
        value=f"recognised as {', '.join(found)}" if found else "no known format",
        remedy=f"Give --format, or name the columns with --map (known: {known}).",
    )


def _refuse_options(name: str, options: ReadOptions) -> None:
    """Raise BadInputError where an option was given that the format cannot use."""
    given = {
        "--map": options.columns,
        "--items-map": None if options.items else options.items_columns,
        "--users-map": None if options.users else options.users_columns,
        "--encoding": options.text.encoding,
        "--separator": options.text.separator,
        "--no-header": None if options.text.header else "given",
    }
    for option, value in given.items():
        if value is None or option in FORMATS[name].takes:
            continue
        side = option.removesuffix("-map")
        needs = f"Give {side} with it" if side in ("--items", "--users") else "Leave it out"
        raise BadInputError(
            field=option,
            value=",".join(f"{ours}={theirs}" for ours, theirs in value.items())
            if isinstance(value, Mapping)
            else value,
            remedy=f"{needs}: the format {name} takes {', '.join(sorted(FORMATS[name].takes)) or 'none'}.",
        )
