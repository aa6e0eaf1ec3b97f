"""Cells at rest next to their page, so that a cell whose file was lost need not be measured again.

    <table>.parquet     a row per model, seed, K and tested user: the metrics as float16
    <table>.2.parquet   further cells, where one file would exceed 1 MB

The file's metadata holds what the rows do not: each cell's key, cost, counts, code, and the exact means of
its validation users. A cell is restored only under its own key, so that rows of other settings, other data
or another protocol are never taken for it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import compress, decompress
from zlib import error as ZlibError

import numpy as np
import polars as pl
from polars.exceptions import PolarsError
from pyarrow import parquet

from warmprompt.errors import BadInputError, IntegrityError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.results import Cost, read_counts
from warmprompt.evidence.cells import KEPT, Cell, PerK, Wanted, is_there, save_cell
from warmprompt.evidence.jobs import wanted_cells
from warmprompt.evidence.models import current_code_hash
from warmprompt.evidence.plan import EvidencePlan
from warmprompt.files import write_atomic
from warmprompt.types import UserId

MAX_BYTES = 1_000_000
"""Of one file."""

_METADATA = "warmprompt_cells"
_VALIDATION = "mean"
_LEVEL = 22  # zstd's highest: a table is written seldom


@dataclass(frozen=True, kw_only=True)
class Restored:
    """What was read back for one table.

    Attributes:
        table: Its name.
        num_cells: Cells written to the folder of cells.
        changed: Rows among them whose class lies in a file that has changed since they were measured.
    """

    table: str
    num_cells: int
    changed: tuple[str, ...]

    def line(self) -> str:
        """Return one line for whoever builds or reports."""
        text = f"restored {self.num_cells} cells of {self.table} from {self.table}.parquet"
        if not self.changed:
            return text
        return f"{text}; code changed since: {', '.join(self.changed)} (--no-restore measures them anew)"


def store_cells(cells: Sequence[tuple[Wanted, Cell]], page: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write the cells of a table next to its page, in as few files as the limit allows.

    Args:
        cells: In the order of the table.
        page: The table's page or JSON; the files take its name.
        max_bytes: Most bytes of one file.

    Raises:
        BadInputError: One cell alone exceeds the limit.
        StorageError: A file cannot be written.
    """
    parts = _parted(cells, max_bytes, page.stem)
    for number, data in enumerate(parts, start=1):
        write_atomic(_file(page, number), data)
    for file in _files(page)[len(parts) :]:
        file.unlink()


def restore_cells(plan: EvidencePlan, cells: Path, pages: Path) -> tuple[Restored, ...]:
    """Write each of the plan's cells that is lost, and stored next to its page, to the folder of cells.

    Restored metrics have the precision of float16: each is off by at most 2^-11 of itself, .05 %
    (below 6e-5 by at most 3e-8).

    Args:
        plan: The tables to look at.
        cells: The folder of all cells.
        pages: The folder of the pages.

    Raises:
        IntegrityError: A file is damaged.
        StorageError: A cell cannot be written.
    """
    found = []
    for table in plan.tables:
        lost = {
            wanted.key: (spec, wanted)
            for _, spec, wanted in wanted_cells(plan, tables=[table])
            if not is_there(cells, wanted)
        }
        if not lost:
            continue
        num_cells, changed = 0, dict[str, None]()
        for key, cell in read_stored(pages / f"{table.name}.md"):
            if key in lost:
                spec, wanted = lost[key]
                save_cell(cells, wanted, cell)
                num_cells += 1
                if current_code_hash(spec, wanted) not in (None, cell.code_hash):
                    changed[spec.name] = None
        if num_cells:
            found.append(Restored(table=table.name, num_cells=num_cells, changed=tuple(changed)))
    return tuple(found)


def read_stored(page: Path) -> Iterator[tuple[str, Cell]]:
    """Yield the key and the cell of everything that is stored next to a page.

    Raises:
        IntegrityError: A file is damaged.
    """
    for file in _files(page):
        try:
            data = file.read_bytes()
            about = _unpacked(pl.read_parquet_metadata(BytesIO(data))[_METADATA])
            table = pl.read_parquet(BytesIO(data))
            parts = table.partition_by(["model", "seed"], as_dict=True, maintain_order=True)
            for one in about["cells"]:
                part = parts[one["model"], one["cost"]["seed"]]
                yield one["key"], _read_cell(part, one, about["users"][str(one["cost"]["seed"])])
        except (OSError, ValueError, KeyError, IndexError, TypeError, ZlibError, PolarsError) as error:
            remedy = "Take the file from version control, or delete it and measure its cells again."
            raise IntegrityError(field="stored cells", value=f"{file}: {error}", remedy=remedy) from error


def _file(page: Path, number: int) -> Path:
    return page.with_suffix(".parquet" if number == 1 else f".{number}.parquet")


def _files(page: Path) -> list[Path]:
    """Return the files of a page that are there, first to last."""
    found: list[Path] = []
    while (file := _file(page, len(found) + 1)).is_file():
        found.append(file)
    return found


def _parted(cells: Sequence[tuple[Wanted, Cell]], max_bytes: int, name: str) -> list[bytes]:
    """Return the files' contents: the cells in even parts, in as few as stay below the limit."""
    for num_parts in range(1, len(cells) + 1):
        ends = np.linspace(0, len(cells), num_parts + 1).round().astype(int)
        parts = [_encoded(cells[start:end]) for start, end in pairwise(ends)]
        if max(map(len, parts)) <= max_bytes:
            return parts
    raise BadInputError(
        field="stored cells",
        value=f"{name}: one cell exceeds {max_bytes:,} bytes",
        remedy="Test fewer users or fewer K in one table.",
    )


def _encoded(cells: Sequence[tuple[Wanted, Cell]]) -> bytes:
    """Return the bytes of one Parquet file."""
    # Numbered per seed, whose cells have the same users in the same order.
    users: dict[int, dict[UserId, int]] = {}
    frames = []
    for wanted, cell in cells:
        numbers = users.setdefault(wanted.seed, {})
        for k, of_k in cell.tested.items():
            values = np.array(list(of_k.values())).reshape(len(of_k), len(METRICS)).astype(np.float16)
            columns = {
                "model": pl.repeat(wanted.model, len(of_k), eager=True),
                "seed": pl.repeat(wanted.seed, len(of_k), dtype=pl.UInt16, eager=True),
                "k": pl.repeat(k, len(of_k), dtype=pl.UInt16, eager=True),
                "user": pl.Series([numbers.setdefault(user, len(numbers)) for user in of_k], dtype=pl.UInt32),
            }
            frames.append(pl.DataFrame({**columns, **dict(zip(METRICS, values.T, strict=True))}))
    about = {
        "users": {seed: list(numbers) for seed, numbers in users.items()},
        "cells": [_described(wanted, cell) for wanted, cell in cells],
    }
    table = pl.concat(frames).to_arrow()
    buffer = BytesIO()
    with parquet.ParquetWriter(
        buffer,
        table.schema,
        compression="zstd",
        compression_level=_LEVEL,
        # Metrics plain and users as steps: 12 to 40 % smaller than Polars' own choice of encodings.
        use_dictionary=["model", "seed", "k"],
        column_encoding={"user": "DELTA_BINARY_PACKED"},
        write_statistics=False,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_METADATA: _packed(about)})
    return buffer.getvalue()


def _packed(about: Mapping[str, Any]) -> str:
    """Return JSON as text that metadata may hold, which Parquet itself does not compress."""
    return b64encode(compress(json.dumps(about).encode(), 9)).decode()


def _unpacked(text: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(decompress(b64decode(text)))
    return content


def _described(wanted: Wanted, cell: Cell) -> dict[str, Any]:
    """Return all of a cell but its tested users' metrics, as JSON values."""
    means = {
        k: np.mean(list(users.values()), axis=0).tolist() for k, users in cell.validation.items() if users
    }
    return {
        "key": wanted.key,
        "model": wanted.model,
        "validation": means,
        "cost": asdict(cell.cost),
        "counts": asdict(cell.counts),
        **{name: getattr(cell, name) for name in KEPT},
    }


def _read_cell(table: pl.DataFrame, about: Mapping[str, Any], users: Sequence[UserId]) -> Cell:
    tested: PerK = {
        int(str(k)): dict(
            zip(
                (users[index] for index in part["user"]),
                part.select(METRICS).to_numpy().astype(np.float64),
                strict=True,
            )
        )
        for (k,), part in table.partition_by(["k"], as_dict=True, maintain_order=True).items()
    }
    return Cell(
        tested=tested,
        # Their mean under one name: nothing else of them is used, and it chooses the best baseline.
        validation={int(k): {_VALIDATION: np.array(mean)} for k, mean in about["validation"].items()},
        cost=Cost(**about["cost"]),
        counts=read_counts(about["counts"]),
        rounded=True,
        **{name: about[name] for name in KEPT},
    )
