"""Rankings for a file of users, read and written in pieces: memory stays flat for any number of users.

Everything about the users is read and checked before the first ranking, so that a mistake in the last
row costs no hour. The output appears under its name when it is whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from warmprompt.adaptation.many_users import (
    UserToRank,
    catalogue_of,
    of_histories,
    ranked_frames,
)
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.assembly.table_files import open_writer
from warmprompt.assembly.user_objects import UserObjects, read_objects
from warmprompt.data.histories import read_histories
from warmprompt.data.importing import check_rejects
from warmprompt.data.readers import open_source, recbole
from warmprompt.data.readers.frames import ALIASES
from warmprompt.data.readers.opened import open_input
from warmprompt.data.readers.options import ReadOptions
from warmprompt.data.readers.source import RejectLog, Source
from warmprompt.errors import BadInputError
from warmprompt.files import new_file

_OBJECTS = (".jsonl", ".ndjson", ".json")

BatchProgress = Callable[[int, int], None]
"""Receives how many users are ranked, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """What a batch did.

    Attributes:
        num_users: Users ranked.
        num_rows: Rows written.
        num_events: Events read.
        num_unknown: Events left out because the model does not know their item.
        unknown_items: A few of those items.
        rejects: What was malformed, by reason: how often, and the first lines.
    """

    num_users: int
    num_rows: int
    num_events: int
    num_unknown: int
    unknown_items: tuple[str, ...]
    rejects: Mapping[str, tuple[int, tuple[int, ...]]]


class _Users(Protocol):
    """Users that were read and checked."""

    num_users: int
    num_events: int
    num_unknown: int
    unknown_items: list[str]
    log: RejectLog


def recommend_file(  # noqa: PLR0913 - where from, where to, and options by keyword
    model: Personaliser,
    users: Path,
    out: Path,
    n: int = 10,
    *,
    columns: Mapping[str, str] | None = None,
    exact: bool | None = None,
    max_rejects: float = 0.0,
    selection: Mapping[str, Any] | None = None,
    progress: BatchProgress = lambda _done, _total: None,
) -> BatchReport:
    """Rank for every user of a file and write a row per user and rank.

    Args:
        model: Does the ranking.
        users: A row per event in any file that can be imported, or one JSON object per user.
        out: .parquet, .csv or .jsonl; replaced where it is there.
        n: Places for each.
        columns: Our name to the file's column; columns named as frames name them need none.
        exact: As in `Personaliser.adapt`.
        max_rejects: Highest share of malformed rows, 0 to 1; they are left out.
        selection: Keywords of `Personaliser.rank`.
        progress: Receives after each thousand users.

    Raises:
        BadInputError: A file cannot be read or is of an unknown kind, a column is missing, or less than half
            of the events' items are known to the model.
        RejectsError: More malformed rows than the share; names the first lines.
        StorageError: The output could not be written.
    """
    if not 0 <= max_rejects <= 1:
        raise BadInputError(field="--max-rejects", value=max_rejects, remedy="Give a share between 0 and 1.")
    rank = partial(model.rank_many, exact=exact, **(selection or {}))
    with tempfile.TemporaryDirectory(prefix="warmprompt-") as scratch, new_file(out) as unfinished:
        with open_writer(unfinished, kind=out) as write:
            found, listed = _read(model, users, columns, max_rejects, Path(scratch))
            num_done = num_rows = 0
            for frame in ranked_frames(
                _counted(listed, progress, found.num_users), n, rank, items=model.items
            ):
                write(frame)
                num_rows += frame.height
        num_done = found.num_users
    return BatchReport(
        num_users=num_done,
        num_rows=num_rows,
        num_events=found.num_events,
        num_unknown=found.num_unknown,
        unknown_items=tuple(found.unknown_items),
        rejects=rejects_of(found.log),
    )


def rejects_of(log: RejectLog) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return what was malformed, by reason: how often, and the first lines."""
    return {reason: (count, tuple(log.first_lines[reason])) for reason, count in log.counts.items()}


def _read(
    model: Personaliser, users: Path, columns: Mapping[str, str] | None, max_rejects: float, scratch: Path
) -> tuple[_Users, Iterable[UserToRank]]:
    """Read and check all users; return what was counted, and the users one by one."""
    if columns is None and Path(users.name.lower().removesuffix(".gz")).suffix in _OBJECTS:
        objects: UserObjects = read_objects(users, model)
        check_rejects(objects.log, max_rejects)
        return objects, objects
    source = _source(model, users, columns)
    catalogue = catalogue_of(model)
    histories = read_histories(
        source, model.items, now_s=catalogue.now_s, scratch=scratch, max_rejects=max_rejects
    )
    return histories, of_histories(histories, model.items)


def _source(model: Personaliser, users: Path, columns: Mapping[str, str] | None) -> Source:
    """Return the events of a file; columns that the model has no use for are not read."""
    if columns is None and users.is_file() and not recbole.recognises(users):
        columns = columns_to_read(model, open_input(users, {}).columns, where=users)
    source = open_source(users, ReadOptions(columns=columns))
    return replace(
        source,
        rating_scale=model.rating_scale or source.rating_scale,
        has_rating=source.has_rating and (columns is not None or model.rating_scale is not None),
    )


def columns_to_read(model: Personaliser, there: Sequence[str], *, where: object) -> dict[str, str]:
    """Return our name to the column of a file, for those that the model has a use for.

    Raises:
        BadInputError: There is no column of users or of items.
    """
    unused = {"rating"} if model.rating_scale is None else set()
    unused |= {"weight"} if model.weight_unit is None else set()
    columns = {
        ours: next(name for name in names if name in there)
        for ours, names in ALIASES.items()
        if ours not in unused and set(names) & set(there)
    }
    for ours in ("user", "item"):
        if ours not in columns:
            raise BadInputError(
                field=f"column of {ours}s in {where}",
                value=", ".join(there),
                remedy=f"Say which one it is: --users-map user=COLUMN,item=COLUMN, or name it {ours}_id.",
            )
    return columns


def _counted(users: Iterable[UserToRank], progress: BatchProgress, total: int) -> Iterator[UserToRank]:
    for number, one in enumerate(users):
        if number and number % 1000 == 0:
            progress(number, total)
        yield one
    progress(total, total)


__all__ = [
    "BatchProgress",
    "BatchReport",
    "columns_to_read",
    "recommend_file",
    "rejects_of",
]
