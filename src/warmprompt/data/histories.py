"""Many users' events for ranking, read in pieces: memory stays flat however long the file is.

Rows of one user may stand anywhere. All rows are read, checked and counted before the first user is
handed out; beyond two million they are spooled to a scratch folder, split by user, so that one part fits.
K is events of a user.
"""

from __future__ import annotations

import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from warmprompt.data.event_rows import TEXTS_CUT, read_event_rows
from warmprompt.data.ids import IdIndex
from warmprompt.data.importing import check_rejects
from warmprompt.data.readers.source import RejectLog, Source
from warmprompt.errors import BadInputError
from warmprompt.types import Floats, ItemId, UserId, short_repr

_ROWS_IN_MEMORY = 2_000_000
_PARTS = 64
_LEAST_KNOWN = 0.5
_SHOWN = 5
_UNKNOWN = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """One user's events whose items are known, oldest first where times are, else in the order of the rows.

    Attributes:
        user: The user's id.
        items_K: Positions in the catalogue, (K,).
        ratings_K, weights_K: As given, (K,), NaN where missing; None where no row has a column of them.
        texts_K: What the user wrote, (K,), None where nothing; None where there is no column of texts.
    """

    user: UserId
    items_K: NDArray[np.int32]
    ratings_K: Floats | None
    weights_K: Floats | None
    texts_K: tuple[str | None, ...] | None = None

    __repr__ = short_repr


@dataclass(kw_only=True, eq=False)
class Histories:
    """Users' events, checked; iterate to get each user's `History`, in the order of first appearance.

    That order holds within each part. There is one, or 64 where rows were spooled, or as many as were asked
    for.

    Attributes:
        num_users: How many users have a valid row.
        num_events: Their events, those with unknown items included.
        num_unknown: Events whose item the catalogue does not have; they are left out.
        unknown_items: A few of those items, as written.
        log: Rows that were refused.
        whole_ids: Whether every user's id is a whole number.
        num_parts: How many parts users are split into, by `part_of`.
        frames, folders: Rows in memory, and those that were spooled.
    """

    num_users: int = 0
    num_events: int = 0
    num_unknown: int = 0
    unknown_items: list[str] = field(default_factory=list)
    log: RejectLog = field(default_factory=lambda: RejectLog("users' events"))
    whole_ids: bool = True
    num_parts: int = 1
    frames: list[pl.DataFrame] = field(default_factory=list, repr=False)
    folders: tuple[Path, ...] = ()

    __repr__ = short_repr

    def __iter__(self) -> Iterator[History]:
        """Yield one user after the other."""
        for _, histories in self.parts():
            yield from histories

    def parts(self) -> Iterator[tuple[int, Iterator[History]]]:
        """Yield the number and the users of each part that has any; numbers rise."""
        for part, rows in self._rows():
            yield part, _histories(rows, whole_ids=self.whole_ids)

    def count_users(self) -> int:
        """Return how many users there are."""
        return sum(rows["user"].n_unique() for _, rows in self._rows())

    def _rows(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Yield rows part by part; a user's rows are all in one part."""
        if self.frames:
            yield from _split(pl.concat(self.frames), self.num_parts)
        for folder in self.folders:
            yield int(folder.name), pl.read_parquet(sorted(folder.iterdir()))


def part_of(users: pl.Series, num_parts: int) -> pl.Series:
    """Return the part of each id, 0 to `num_parts` - 1: the CRC-32 of its text, the same on any machine."""
    known = users.unique()
    written = known.cast(pl.String).fill_null("")
    parts = pl.Series([zlib.crc32(each.encode()) % num_parts for each in written], dtype=pl.Int32)
    return users.replace_strict(known, parts, return_dtype=pl.Int32)


def read_histories(
    source: Source,
    items: Sequence[ItemId],
    *,
    now_s: int,
    scratch: Path,
    max_rejects: float = 0.0,
    num_parts: int | None = None,
) -> Histories:
    """Read, check and count all rows of a source's events.

    Args:
        source: What a reader returned; its tables of items and users are not read.
        items: The catalogue, in index order.
        now_s: Seconds since 1970; later times are rejects.
        scratch: An empty folder for spooled rows, there as long as the result is iterated.
        max_rejects: Highest share of malformed rows.
        num_parts: Split users into so many parts; the source may then be without a row.

    Raises:
        BadInputError: As `event_rows.read_event_rows`; no valid row; or the catalogue knows less than half
            of the events' items.
        RejectsError: More malformed rows than the share.
    """
    found = Histories(num_parts=num_parts or 1)
    position = {str(item): index for index, item in enumerate(items)}
    unit, num_flushed = source.time_unit, 0
    for raw in source.events(found.log):
        users, own = (IdIndex(name, typed=source.typed_ids) for name in ("user", "item"))
        piece = replace(source, events=partial(_only, raw), time_unit=unit)
        rows = read_event_rows(piece, users, own, found.log, now_s=now_s)
        unit = rows.time_unit or unit
        if rows.frame.is_empty():
            continue
        found.whole_ids &= users.table().schema["user"] == pl.Int64
        found.frames.append(_indexed(rows.frame, users, own, position, found))
        if sum(frame.height for frame in found.frames) > _ROWS_IN_MEMORY:
            _spool(found, scratch, num_flushed, num_parts or _PARTS)
            num_flushed += 1
    check_rejects(found.log, max_rejects)
    if num_cut := found.log.notes.get(TEXTS_CUT):
        warnings.warn(f"{num_cut:,} {TEXTS_CUT}", stacklevel=2)
    if num_flushed:
        if found.frames:
            _spool(found, scratch, num_flushed, num_parts or _PARTS)
        found.folders = tuple(sorted(scratch.iterdir()))
    found.num_users = found.count_users()
    if found.num_events or num_parts is None:
        _refuse_strange(found, items)
    return found


def _only(rows: pl.DataFrame, _log: RejectLog) -> Iterator[pl.DataFrame]:
    yield rows


def _indexed(
    rows: pl.DataFrame, users: IdIndex, own: IdIndex, position: dict[str, int], found: Histories
) -> pl.DataFrame:
    """Return rows with users' ids as written and items' positions, and count those that are unknown."""
    written = own.written().to_list()
    indices = [_index_of(each, position) for each in written]
    indexed = rows.with_columns(
        users.written().gather(rows["user"]).alias("user"),
        pl.Series("item", indices, dtype=pl.Int32).gather(rows["item"]),
    )
    strange = [each for each, index in zip(written, indices, strict=True) if index == _UNKNOWN]
    new = [each for each in strange if each not in found.unknown_items]
    found.unknown_items += new[: _SHOWN - len(found.unknown_items)]
    found.num_unknown += int((indexed["item"] == _UNKNOWN).sum())
    found.num_events += indexed.height
    return indexed


def _index_of(written: str, position: dict[str, int]) -> int:
    """Return the position of an item, also of a whole number that is written as a float."""
    index = position.get(written)
    return position.get(re.sub(r"\.0+$", "", written), _UNKNOWN) if index is None else index


def _spool(found: Histories, scratch: Path, number: int, num_parts: int) -> None:
    """Move the rows in memory to files, one per part."""
    for part, rows in _split(pl.concat(found.frames), num_parts):
        folder = scratch / f"{part:06}"
        folder.mkdir(exist_ok=True)
        rows.write_parquet(folder / f"{number:06}.parquet")
    found.frames.clear()


def _split(rows: pl.DataFrame, num_parts: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of each part that has any, in their order."""
    if num_parts == 1:
        yield 0, rows
        return
    parts = rows.with_columns(part_of(rows["user"], num_parts).alias("#part"))
    by_part = parts.partition_by("#part", maintain_order=True, include_key=False, as_dict=True)
    for (part,), own in sorted(by_part.items()):
        yield part, own


def _histories(part: pl.DataFrame, *, whole_ids: bool) -> Iterator[History]:
    keys = ["#first", "time_s"] if "time_s" in part.columns else ["#first"]
    numbered = part.with_row_index("#first").with_columns(pl.col("#first").min().over("user"))
    rows = numbered.sort(keys, maintain_order=True)
    runs = rows["user"].rle().struct.unnest()
    ids = runs["value"].cast(pl.Int64) if whole_ids else runs["value"]
    stops = np.cumsum(runs["len"].to_numpy())
    items, known = rows["item"].to_numpy(), rows["item"].to_numpy() != _UNKNOWN
    values = {
        name: rows[name].fill_null(np.nan).to_numpy() if name in rows.columns else None
        for name in ("rating", "weight")
    }
    for user, start, stop in zip(ids, [0, *stops[:-1].tolist()], stops.tolist(), strict=True):
        own = np.arange(start, stop)[known[start:stop]]
        ratings, weights = values["rating"], values["weight"]
        yield History(
            user=user,
            items_K=items[own],
            ratings_K=None if ratings is None else ratings[own],
            weights_K=None if weights is None else weights[own],
            texts_K=tuple(rows["text"].gather(own)) if "text" in rows.columns else None,
        )


def _refuse_strange(found: Histories, items: Sequence[ItemId]) -> None:
    if not found.num_events:
        raise BadInputError(
            field="users' events", value="no event", remedy="Give a table with at least one valid row."
        )
    known = 1 - found.num_unknown / found.num_events
    if known < _LEAST_KNOWN:
        raise BadInputError(
            field="items of users' events",
            value=f"{known:.1%} are known to the model, not {', '.join(found.unknown_items)}",
            remedy=f"Write items as the training data did, such as {items[0]!r}.",
        )
