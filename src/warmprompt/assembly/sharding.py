"""Rankings for the users of Parquet files, in blocks that any number of processes share.

    rows of events --CRC-32 of the user's id--> blocks --rank--> one Parquet file per block, a row per user

A block's number depends on the user's id alone, so each user is in one block, wherever the rows stand. Block
b is made by shard b % n + 1 of n. A block that is there is not made again: a shard that was killed is run
again. `manifest.json` says what was asked for and which blocks are missing.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from warmprompt import __version__
from warmprompt.adaptation.many_users import UserToRank, catalogue_of, of_histories, ranked_users
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.selection import check_count
from warmprompt.assembly.batch import BatchProgress, columns_to_read, rejects_of
from warmprompt.assembly.block_folder import BlockFolder, block_name, open_folder
from warmprompt.data.event_files import (
    EventFiles,
    events_of_users,
    open_event_files,
    whole_user_ids,
)
from warmprompt.data.histories import Histories, History, part_of, read_histories
from warmprompt.errors import BadInputError, IntegrityError, MismatchError
from warmprompt.types import Floats, UserId

MANIFEST = "manifest.json"
_NOTE = b"warmprompt"


@dataclass(frozen=True, kw_only=True)
class BatchJob:
    """What is to be ranked for whom; the same in every shard.

    Attributes:
        users: Parquet files with a row per event: a file, a folder, a pattern, or a URL that fsspec knows.
        out: Folder or URL of the blocks.
        n: Places for each user.
        columns: Our name to the files' column; columns named as frames name them need none.
        exact: As in `Personaliser.adapt`.
        max_rejects: Highest share of malformed rows among those of a shard, 0 to 1; they are left out.
        selection: Keywords of `Personaliser.rank`.
        vectors: Whether blocks hold the users' vectors, too.
        rows_per_block: Rows of events that make a block, on average.
    """

    users: str
    out: str
    n: int = 10
    columns: Mapping[str, str] | None = None
    exact: bool | None = None
    max_rejects: float = 0.0
    selection: Mapping[str, Any] = field(default_factory=dict)
    vectors: bool = False
    rows_per_block: int = 100_000


@dataclass(frozen=True, kw_only=True)
class ShardReport:
    """What a shard did, and what is left.

    Attributes:
        num_blocks: Blocks of the whole job.
        num_written: Blocks that this call wrote.
        num_there: Blocks of this shard that were there before.
        num_users: Users in the blocks that were written.
        num_rows_read: Rows of events in them, malformed ones included.
        num_unknown: Events left out because the model does not know their item.
        unknown_items: A few of those items.
        rejects: What was malformed, by reason: how often, and the first lines.
        missing: Blocks of the whole job that are not there.
    """

    num_blocks: int
    num_written: int = 0
    num_there: int = 0
    num_users: int = 0
    num_rows_read: int = 0
    num_unknown: int = 0
    unknown_items: tuple[str, ...] = ()
    rejects: Mapping[str, tuple[int, tuple[int, ...]]] = field(default_factory=dict)
    missing: tuple[int, ...] = ()


def rank_shard(
    model: Personaliser,
    job: BatchJob,
    *,
    shard: int = 1,
    num_shards: int = 1,
    progress: BatchProgress = lambda _done, _total: None,
) -> ShardReport:
    """Write the blocks of one shard that are not there yet.

    Args:
        model: Does the ranking.
        job: The same for every shard.
        shard: Which one, 1 to `num_shards`.
        num_shards: How many there are; another number may be given when blocks are made later.
        progress: Receives after each block.

    Raises:
        BadInputError: The files cannot be read, or less than half of the events' items are known.
        MismatchError: The folder holds blocks of another job.
        RejectsError: More malformed rows than the share.
        IntegrityError: All blocks are there, and not every row of the input is in one of them.
        StorageError: A block could not be written.
    """
    if not 1 <= shard <= num_shards:
        remedy = "Number shards from 1 to n: --shard 1/8 ... --shard 8/8."
        raise BadInputError(field="--shard", value=f"{shard}/{num_shards}", remedy=remedy)
    check_count(job.n)
    files = open_event_files(job.users)
    columns = job.columns or columns_to_read(model, files.head.columns, where=job.users)
    folder = open_folder(job.out)
    request = _request(model, job, files, columns)
    _agree(folder, request)
    num_blocks: int = request["num_blocks"]
    own = set(range(shard - 1, num_blocks, num_shards))
    todo = own - folder.blocks()
    done = ShardReport(num_blocks=num_blocks)
    if todo:
        done = _rank_blocks(model, job, files, sorted(todo), into=(folder, request), progress=progress)
    return replace(done, num_there=len(own - todo), missing=_note_missing(folder, request))


def _rank_blocks(
    model: Personaliser,
    job: BatchJob,
    files: EventFiles,
    todo: Sequence[int],
    *,
    into: tuple[BlockFolder, Mapping[str, Any]],
    progress: BatchProgress,
) -> ShardReport:
    """Read the rows of some blocks, then rank and write block by block."""
    folder, request = into
    columns, num_blocks = request["columns"], request["num_blocks"]
    now_s, rows_of_block = catalogue_of(model).now_s, Counter[int]()

    def keep(users: pl.Series) -> pl.Series:
        parts = part_of(users, num_blocks)
        kept = parts.is_in(todo)
        rows_of_block.update(dict(parts.filter(kept).value_counts().iter_rows()))
        return kept

    scale = model.rating_scale
    source = events_of_users(files, keep, columns=columns, rating_scale=scale, now_s=now_s)
    with tempfile.TemporaryDirectory(prefix="warmprompt-") as scratch:
        found = read_histories(
            source,
            model.items,
            now_s=now_s,
            scratch=Path(scratch),
            max_rejects=job.max_rejects,
            num_parts=num_blocks,
        )
        found.whole_ids = whole_user_ids(files, columns["user"])
        num_done = 0
        for block, histories in _blocks(found, todo):
            frame = _ranked(model, job, of_histories(histories, model.items), whole_ids=found.whole_ids)
            _write(folder, request, block, frame, num_rows_read=rows_of_block[block])
            num_done += frame.height
            progress(num_done, found.num_users)
    return ShardReport(
        num_blocks=num_blocks,
        num_written=len(todo),
        num_users=num_done,
        num_rows_read=rows_of_block.total(),
        num_unknown=found.num_unknown,
        unknown_items=tuple(found.unknown_items),
        rejects=rejects_of(found.log),
    )


def _blocks(found: Histories, todo: Sequence[int]) -> Iterator[tuple[int, Iterable[History]]]:
    """Yield each block and its users; blocks without a user come last."""
    without = set(todo)
    for block, histories in found.parts():
        without.discard(block)
        yield block, histories
    yield from ((block, ()) for block in sorted(without))


def _ranked(
    model: Personaliser, job: BatchJob, users: Iterable[UserToRank], *, whole_ids: bool
) -> pl.DataFrame:
    """Return a row per user: the items, best first, their scores, and the vector where it is asked for."""
    rank = partial(model.rank_many, exact=job.exact, **job.selection)
    ids: list[UserId] = []
    rankings: list[Ranking] = []
    vectors: list[Floats] = []
    for chunk, ranked in ranked_users(users, job.n, rank):
        ids += [one.user for one in chunk]
        rankings += ranked
        if job.vectors:
            states = model.adapt_many([one.known for one in chunk], exact=job.exact)
            vectors += [state.vector_D for state in states]
    item_type = pl.Int64 if isinstance(model.items[0], int) else pl.String
    columns = [
        pl.Series("user_id", ids, dtype=pl.Int64 if whole_ids else pl.String),
        pl.Series("items", [one.items for one in rankings], dtype=pl.List(item_type)),
        pl.Series("scores", [one.scores for one in rankings], dtype=pl.List(pl.Float64)),
    ]
    if job.vectors:
        width = model.engine.catalogue_VD.shape[1]
        stacked = np.stack(vectors) if vectors else np.zeros((0, width), dtype=np.float32)
        columns.append(pl.Series("vector", stacked, dtype=pl.Array(pl.Float32, width)))
    return pl.DataFrame(columns)


def _write(
    folder: BlockFolder, request: Mapping[str, Any], block: int, frame: pl.DataFrame, *, num_rows_read: int
) -> None:
    """Write a block; its footer holds what was asked for and what was counted."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest())
    counts = {"num_users": frame.height, "num_rows_read": num_rows_read}
    note = json.dumps({"request": _digest(request), **counts}).encode()
    file = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({_NOTE: note}), file, compression="zstd")
    folder.write(block_name(block), file.getvalue())


def _request(
    model: Personaliser, job: BatchJob, files: EventFiles, columns: Mapping[str, str]
) -> dict[str, Any]:
    """Return what makes the blocks what they are, as JSON values."""
    rows_per_block = max(job.rows_per_block, 1)
    request = {
        "warmprompt": __version__,
        "model": model.model_hash,
        "n": int(job.n),
        "exact": job.exact,
        "selection": dict(job.selection),
        "vectors": job.vectors,
        "max_rejects": job.max_rejects,
        "columns": dict(columns),
        "inputs": [
            {"file": each.name, "rows": each.num_rows, "footer": each.footer_hash} for each in files.files
        ],
        "num_rows": files.num_rows,
        "num_blocks": max(-(-files.num_rows // rows_per_block), 1),
    }
    same: dict[str, Any] = json.loads(json.dumps(request, sort_keys=True))
    return same


def _digest(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _agree(folder: BlockFolder, request: Mapping[str, Any]) -> None:
    """Write the manifest, or refuse a folder that was begun with another request."""
    data = folder.read(MANIFEST)
    if data is None:
        missing = sorted(set(range(request["num_blocks"])) - folder.blocks())
        _write_manifest(folder, request, missing)
        return
    there = json.loads(data)
    for name, value in request.items():
        if there.get(name) != value:
            raise MismatchError(
                field=f"{folder.path}/{MANIFEST}, {name}",
                value=f"{there.get(name)}, not {value}",
                remedy="Its blocks are of another job: name another folder for this one.",
            )


def _note_missing(folder: BlockFolder, request: Mapping[str, Any]) -> tuple[int, ...]:
    """Write which blocks are missing, and return them.

    It is written until the folder is as it says. So the last of several processes that end together writes
    what is true, in whatever order they look and write.
    """
    noted: list[int] | None = None
    while (missing := sorted(set(range(request["num_blocks"])) - folder.blocks())) != noted:
        _write_manifest(folder, request, missing)
        noted = missing
    return tuple(missing)


def _write_manifest(folder: BlockFolder, request: Mapping[str, Any], missing: Sequence[int]) -> None:
    counts = {} if missing else _counts(folder, request)
    manifest = {**request, **counts, "missing": list(missing)}
    folder.write(MANIFEST, json.dumps(manifest, indent=1).encode())


def _counts(folder: BlockFolder, request: Mapping[str, Any]) -> dict[str, int]:
    """Return the sums over all blocks; every row of the input is in exactly one of them."""
    counts = Counter[str]()
    for block in range(request["num_blocks"]):
        note = json.loads(folder.note_of(block, _NOTE))
        if note.pop("request") != _digest(request):
            raise IntegrityError(
                field=f"{folder.path}/{block_name(block)}",
                value="of another job",
                remedy="Delete it, and run its shard again.",
            )
        counts.update(note)
    if counts["num_rows_read"] != request["num_rows"]:
        raise IntegrityError(
            field=f"rows of events in the blocks of {folder.path}",
            value=f"{counts['num_rows_read']:,} of {request['num_rows']:,}",
            remedy="The files changed while they were read: name another folder, and begin again.",
        )
    return {"num_users": counts["num_users"], "num_rows_read": counts["num_rows_read"]}


__all__ = ["MANIFEST", "BatchJob", "ShardReport", "rank_shard"]
