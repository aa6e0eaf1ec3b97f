"""RecBole atomic files: NAME.inter, NAME.item, NAME.user, tab separated, headers like "rating:float".

Source: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from warmprompt.data.readers.columnar import require_columns
from warmprompt.data.readers.delimited import open_table
from warmprompt.data.readers.generic import MappedFile, MappedTable, check_names, source_of
from warmprompt.data.readers.names import attributes_in, roles_in
from warmprompt.data.readers.opened import InputTable, Mapped, without_spaces
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import EVENT_COLUMNS, LINE, Frames, RejectLog, Source
from warmprompt.data.readers.words import gender_word
from warmprompt.errors import BadInputError

_TYPES = ("token", "token_seq", "float", "float_seq")


def recognises(path: Path) -> bool:
    """Tell whether the folder holds exactly one .inter file, or the path is one."""
    return len(_inter_files(path)) == 1


def read(path: Path, options: ReadOptions | None = None) -> Source:
    """Return the data set of a folder with NAME.inter and perhaps NAME.item and NAME.user.

    Columns are known by the names that public data sets give them, or by those of the options. `class`
    and `genre` become `genres`; a title gets its release year in brackets, as MovieLens writes it,
    where the year is in a column of its own. Zip codes are dropped.

    Raises:
        BadInputError: No or several .inter files, a header that is not `name:type`, or no column that is
            the user or the item.
    """
    options = options or ReadOptions()
    found = _inter_files(path)
    if len(found) != 1:
        raise BadInputError(
            field=str(path), value=f"{len(found)} .inter files", remedy="Give a folder with one."
        )
    events = _open(found[0], options)
    mapping = roles_in(events[0].columns, _bare(options.columns))
    opened = _mapped(events, mapping, ("user", "item"), "--map")
    sides = {}
    for role, given in (("item", options.items_columns), ("user", options.users_columns)):
        file = found[0].with_suffix(f".{role}")
        if (options.items if role == "item" else options.users) is not None:
            continue
        if given and not file.exists():
            raise BadInputError(
                field=f"--{role}s-map",
                value=",".join(f"{ours}={theirs}" for ours, theirs in given.items()),
                remedy=f"There is no {file.name}: leave it out, or give --{role}s with it.",
            )
        if file.exists():
            side = _open(file, options)
            mapping = attributes_in(side[0].columns, _bare(given), role)
            sides[role] = _mapped(side, mapping, (role,), f"--{role}s-map")
    source = source_of(
        opened,
        format_name="recbole",
        items=sides.get("item"),
        users=sides.get("user"),
        null_values=options.null_values,
    )
    return replace(
        source,
        items=source.items and _item_frames(source.items),
        users=source.users and _user_frames(source.users),
    )


def _inter_files(path: Path) -> list[Path]:
    if path.suffix == ".inter" and path.is_file():
        return [path]
    return sorted(path.glob("*.inter")) if path.is_dir() else []


def _bare(mapping: Mapped | None) -> dict[str, str]:
    """Return a mapping whose columns are named without their types."""
    return {ours: re.sub(rf":({'|'.join(_TYPES)})$", "", theirs) for ours, theirs in (mapping or {}).items()}


def _open(path: Path, options: ReadOptions) -> tuple[InputTable, dict[str, str]]:
    """Open an atomic file and return it with the type of each column; sequences become lists."""
    table = open_table(path, usual="\t", quotes=False, lead=path.suffix == ".inter", options=options.text)
    kinds: dict[str, str] = {}
    for column in table.columns:
        name, colon, kind = column.rpartition(":")
        if not colon or kind not in _TYPES:
            raise BadInputError(
                field=f"{path}, line 1",
                value=column,
                remedy=f"Write name:type with a type of {', '.join(_TYPES)}.",
            )
        if name in kinds:
            raise BadInputError(field=f"{path}, line 1", value=name, remedy="Name each column once.")
        kinds[name] = kind

    def rows(mapping: Mapped, log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in table.rows(log):
            columns = (_column(ours, theirs, kinds[theirs]) for ours, theirs in mapping.items())
            yield without_spaces(frame.select(LINE, *columns), log)

    opened = InputTable(path=path, kind="atomic", columns=tuple(kinds), rows=rows, written=table.said())
    return opened, kinds


def _column(ours: str, theirs: str, kind: str) -> pl.Expr:
    column = pl.col(f"{theirs}:{kind}")
    if kind.endswith("_seq") and ours not in ("title", "text"):
        column = column.str.split(" ").list.filter(pl.element() != "")
    return column.alias(ours)


def _mapped(
    file: tuple[InputTable, Mapping[str, str]], mapping: Mapped, needed: tuple[str, ...], option: str
) -> MappedTable:
    """Check that a file's columns can be what they are said to be."""
    table, kinds = file
    for name in needed:
        if name not in mapping:
            raise BadInputError(
                field=f"{table.path}, line 1",
                value=", ".join(table.columns),
                remedy=f"Add a column {name}_id:token, or say which one it is: {option} {name}=COLUMN.",
            )
    check_names(MappedFile(path=table.path, mapping=mapping), needed)
    require_columns(table.path, table.columns, tuple(mapping.values()))
    for ours in EVENT_COLUMNS:
        name = mapping.get(ours, "")
        if ours != "text" and kinds.get(name, "").endswith("_seq"):
            raise BadInputError(
                field=f"{table.path}, line 1",
                value=f"{name}:{kinds[name]}",
                remedy=f"Give the {ours} as one value: {name}:token.",
            )
    return MappedTable(table=table, mapping=mapping)


def _item_frames(frames: Frames) -> Frames:
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


def _user_frames(frames: Frames) -> Frames:
    def start(log: RejectLog) -> Iterator[pl.DataFrame]:
        for frame in frames(log):
            yield frame.with_columns(gender_word("gender")) if "gender" in frame.columns else frame

    return start
