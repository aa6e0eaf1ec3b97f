"""Tables at rest: a folder of three Parquet files and a manifest, written whole or not at all.

    manifest.json         source, counts, rejects, rating scale, hashes, format version
    interactions.parquet  user, item, order, and where known rating, weight, time_s and text
    items.parquet         item, title, attributes
    users.parquet         user, attributes

Rows of items and users are sorted by id; interactions by user and then by `order`, the event's
position in the user's history.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from warmprompt.data.dataset import Dataset, Interactions
from warmprompt.data.strength import unit_of
from warmprompt.data.understood import Understood, understood_from_json
from warmprompt.errors import BadInputError, IntegrityError
from warmprompt.files import new_folder
from warmprompt.types import short_repr

FORMAT_VERSION = 2
# Version 1 knew no weights, and did not keep what was understood.
_READABLE = (1, FORMAT_VERSION)
MANIFEST = "manifest.json"
TableName = Literal["interactions", "items", "users"]
TABLE_NAMES: tuple[TableName, ...] = ("interactions", "items", "users")
_HASH_ROWS = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """Malformed rows of one table and one reason; `first_lines` holds at most five line numbers."""

    table: str
    reason: str
    count: int
    first_lines: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file that was read."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A data folder's manifest.

    Attributes:
        name: How the data set is called.
        source_format: The reader that was used.
        source_files: What was read.
        num_users, num_items, num_events: Rows of the tables.
        num_rows_read: Rows met in the source per table, rejects included.
        num_duplicates: (user, item) events left out because a later one replaced them.
        num_repeated_ids: Rows of items and users left out because their id had come before.
        num_unrated_left_out: Items of the source's metadata without an event that were left out.
        rejects: Malformed rows by table and reason.
        rating_scale: Lowest and highest possible rating, or None without ratings.
        content_hash: SHA-256 over the tables' logical content (see `content_hash`).
        file_hashes: SHA-256 of each Parquet file.
        imported_at_s: Seconds since 1970 UTC.
        weight_unit: The weight that counts 1 (see `strength`), or None without weights.
        understood: How the source was read, or None in data sets of earlier versions.
        format_version: Version of this layout.
    """

    name: str
    source_format: str
    source_files: tuple[SourceFile, ...]
    num_users: int
    num_items: int
    num_events: int
    num_rows_read: dict[str, int]
    num_duplicates: int
    num_repeated_ids: dict[str, int]
    num_unrated_left_out: int
    rejects: tuple[Rejected, ...]
    rating_scale: tuple[float, float] | None
    content_hash: str
    file_hashes: dict[str, str]
    imported_at_s: int
    weight_unit: float | None = None
    understood: Understood | None = None
    format_version: int = FORMAT_VERSION

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True, eq=False)
class Tables:
    """The three tables as they are written; columns as in the module's docstring."""

    interactions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame

    __repr__ = short_repr

    def named(self) -> tuple[tuple[TableName, pl.DataFrame], ...]:
        """Return (name, table) in the fixed order."""
        return ("interactions", self.interactions), ("items", self.items), ("users", self.users)


def write_tables(folder: Path, tables: Tables, manifest: Manifest, *, overwrite: bool = False) -> Manifest:
    """Write the tables and the manifest under `folder`; nothing appears there before all is written.

    Args:
        folder: Where the data set will lie; its parents are made.
        tables: What to write.
        manifest: Its hashes and counts of rows are filled in here.
        overwrite: Replace a data set that lies there.

    Returns:
        The manifest as written.

    Raises:
        BadInputError: The folder exists and is not to be, or must not be, replaced.
        StorageError: The disk is full or not writable.
    """
    check_free(folder, overwrite=overwrite)
    with new_folder(folder, overwrite=overwrite) as staging:
        hashes = {}
        for name, table in tables.named():
            path = staging / f"{name}.parquet"
            table.write_parquet(path)
            hashes[path.name] = file_hash(path)
        written = dataclasses.replace(
            manifest,
            num_users=tables.users.height,
            num_items=tables.items.height,
            num_events=tables.interactions.height,
            content_hash=content_hash(tables),
            file_hashes=hashes,
        )
        (staging / MANIFEST).write_text(json.dumps(dataclasses.asdict(written), indent=2) + "\n", "utf-8")
    return written


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise BadInputError where `folder` is taken, or holds something that is no data set."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / MANIFEST).is_file():
        raise BadInputError(
            field=str(folder), value=f"holds no {MANIFEST}", remedy="Choose another name; it is no data set."
        )
    if not overwrite:
        raise BadInputError(
            field=str(folder), value="exists", remedy="Choose another name, or replace it with --overwrite."
        )


def read_data_manifest(folder: Path) -> Manifest:
    """Return the manifest of a data folder.

    Raises:
        BadInputError: The folder is missing, is no data folder, or has another format version.
        IntegrityError: The manifest is cut short or lacks entries.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "no manifest.json" if folder.is_dir() else "no such folder"
        raise BadInputError(
            field=str(folder), value=what, remedy="Make it with `warmprompt data import` or `data get`."
        )
    try:
        entries: dict[str, Any] = json.loads(path.read_bytes())
        if entries and "format_version" not in entries:
            raise BadInputError(
                field=str(folder),
                value=f"its {MANIFEST} is of something else",
                remedy="Name a data set, or its folder.",
            )
        if entries["format_version"] not in _READABLE:
            raise BadInputError(
                field=f"{path}, format_version",
                value=entries["format_version"],
                remedy=f"Import the data again; this release reads version {FORMAT_VERSION}.",
            )
        entries["understood"] = understood_from_json(entries.get("understood"))
        scale = entries["rating_scale"]
        entries["rating_scale"] = None if scale is None else (float(scale[0]), float(scale[1]))
        entries["source_files"] = tuple(SourceFile(**each) for each in entries["source_files"])
        entries["rejects"] = tuple(
            Rejected(**{**each, "first_lines": tuple(each["first_lines"])}) for each in entries["rejects"]
        )
        return Manifest(**entries)
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(field=str(path), value=error, remedy="Import the data again.") from error


def open_dataset(folder: Path | str) -> Dataset:
    """Open a data folder and check every file against the manifest's hashes.

    Raises:
        BadInputError: The folder is missing or is no data folder.
        IntegrityError: A file is missing, cut short or changed.
    """
    folder = Path(folder)
    manifest = read_data_manifest(folder)
    frames = {}
    for name in TABLE_NAMES:
        path = folder / f"{name}.parquet"
        actual = file_hash(path) if path.is_file() else "missing"
        if actual != manifest.file_hashes.get(path.name):
            raise IntegrityError(
                field=str(path),
                value=actual,
                remedy="The file is not the one that was imported; import again.",
            )
        frames[name] = pl.read_parquet(path)
    tables = Tables(interactions=frames["interactions"], items=frames["items"], users=frames["users"])
    return dataset_from_tables(
        tables,
        name=manifest.name,
        hashed=manifest.content_hash,
        rating_scale=manifest.rating_scale,
        weight_unit=manifest.weight_unit,
    )


def dataset_from_tables(
    tables: Tables,
    *,
    name: str,
    hashed: str,
    rating_scale: tuple[float, float] | None,
    weight_unit: float | None = None,
) -> Dataset:
    """Return the tables as they are worked with; `hashed` is their `content_hash`.

    Without `weight_unit`, the median of the weights counts 1.
    """
    items, users = tables.items, tables.users
    interactions = _interactions(tables.interactions, items["item"], users["user"])
    if weight_unit is None and interactions.weights is not None:
        weight_unit = unit_of(interactions.weights)
    return Dataset(
        name=name,
        content_hash=hashed,
        user_ids=tuple(users["user"].to_list()),
        item_ids=tuple(items["item"].to_list()),
        interactions=interactions,
        items=items.drop("item"),
        users=users.drop("user"),
        rating_scale=rating_scale,
        weight_unit=weight_unit,
    )


def content_hash(tables: Tables) -> str:
    """Return the SHA-256 over names, types and values of all columns in order.

    It depends on the content alone: the same rows give the same hash whichever version of the
    Parquet writer wrote them, and wherever they came from.
    """
    digest = hashlib.sha256()
    for name, table in tables.named():
        digest.update(f"{name}:{table.height}:{table.width}\n".encode())
        for series in table.iter_columns():
            digest.update(f"{series.name}:{series.dtype}\n".encode())
            for start in range(0, table.height, _HASH_ROWS):
                _hash_values(digest, series.slice(start, _HASH_ROWS))
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_values(digest: hashlib._Hash, series: pl.Series) -> None:
    if series.dtype == pl.List:
        digest.update(series.list.len().fill_null(0).cast(pl.Int64).to_numpy().tobytes())
        digest.update(series.is_null().to_numpy().tobytes())
        series = series.explode(empty_as_null=False, keep_nulls=False)
    digest.update(series.is_null().to_numpy().tobytes())
    if series.dtype == pl.String:
        filled = series.fill_null("")
        digest.update(filled.str.len_bytes().cast(pl.Int64).to_numpy().tobytes())
        digest.update((filled.str.join("").item() or "").encode())
    else:
        digest.update(np.ascontiguousarray(series.fill_null(0).to_numpy()).tobytes())


def _interactions(events: pl.DataFrame, items: pl.Series, users: pl.Series) -> Interactions:
    user_index = _positions(events["user"], users)
    counts = np.bincount(user_index, minlength=len(users))
    ratings = events["rating"].fill_null(np.nan).to_numpy() if "rating" in events.columns else None
    times = events["time_s"].to_numpy() if "time_s" in events.columns else None
    return Interactions(
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        items=_positions(events["item"], items),
        ratings=ratings,
        times_s=times,
        weights=events["weight"].fill_null(np.nan).to_numpy() if "weight" in events.columns else None,
        texts=events["text"] if "text" in events.columns else None,
    )


def _positions(values: pl.Series, ids: pl.Series) -> Any:
    if not len(values):
        return np.zeros(0, dtype=np.int32)
    rows = pl.int_range(0, len(ids), dtype=pl.Int32, eager=True)
    return values.replace_strict(ids, rows, return_dtype=pl.Int32).to_numpy()
