"""One cell of the evidence at rest: a data set, a protocol, a seed and a model.

    <data set>/<protocol>/seed-0/<model>-<key>.parquet   metrics of tested and validation users at every K
    <data set>/<protocol>/seed-0/<model>-<key>.json      what was measured, how long it took, on which code

The JSON is written last, so a cell is there if and only if its JSON is. The key hashes all that decides the
numbers: the data, the protocol and its version, the seed, the model and its settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmprompt.errors import IntegrityError
from warmprompt.evaluation.metrics import METRICS
from warmprompt.evaluation.protocols import VERSION, ProtocolSettings
from warmprompt.evaluation.results import Cost, SeedCounts, read_counts
from warmprompt.evaluation.significance import Doubles
from warmprompt.evidence.plan import slug
from warmprompt.files import write_atomic
from warmprompt.types import UserId

_FORMAT = 1
KEPT = ("users_hash", "commit", "code_hash", "machine", "threads", "seconds", "cpu_seconds")
"""Fields of a cell that are JSON values."""

_REMEDY = "Delete it; the next build makes it anew."

PerK = Mapping[int, Mapping[UserId, Doubles]]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A cell's name, before or after it is there.

    Attributes:
        dataset, seed, model: As in the plan.
        protocol: Settings of the protocol.
        content_hash: Of the data set.
        about: From `models.describe_model`.
    """

    dataset: str
    protocol: ProtocolSettings
    seed: int
    model: str
    content_hash: str
    about: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that change with anything that decides the numbers."""
        identity = {
            "format": _FORMAT,
            "protocol_version": VERSION,
            "data": self.content_hash,
            "protocol": _set_fields(self.protocol),
            "seed": self.seed,
            "model": self.about,
        }
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def file(self, cells: Path) -> Path:
        """Return the place of its JSON under the folder of all cells."""
        folder = cells / slug(self.dataset) / slug(self.protocol.label) / f"seed-{self.seed}"
        return folder / f"{slug(self.model)}-{self.key}.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """What was measured.

    Attributes:
        tested: Per K, each user's metrics in the order of `METRICS`.
        validation: Likewise for validation users, of baselines alone: one of them is chosen by it.
        cost: Parameters, training time, time per user, memory.
        counts: Who was left out.
        users_hash: SHA-256 of who trained and validated, on which events.
        commit: The code, or None where it is not known.
        code_hash: SHA-256 of the file that holds the model's class.
        machine: What it ran on.
        threads: Processor threads it could use.
        seconds, cpu_seconds: Wall time and processor time of the cell without the fit.
        rounded: Whether the metrics were read back from float16, and of validation users the mean alone.
    """

    tested: PerK
    validation: PerK
    cost: Cost
    counts: SeedCounts
    users_hash: str
    commit: str | None
    code_hash: str
    machine: Mapping[str, str]
    threads: int
    seconds: float
    cpu_seconds: float
    rounded: bool = False


def is_there(cells: Path, wanted: Wanted) -> bool:
    """Return whether the cell has been measured."""
    return wanted.file(cells).is_file()


def save_cell(cells: Path, wanted: Wanted, cell: Cell) -> None:
    """Write a cell, whole or not at all.

    Raises:
        StorageError: The disk is full or not writable.
    """
    buffer = BytesIO()
    _table(cell).write_parquet(buffer)
    file = wanted.file(cells)
    write_atomic(file.with_suffix(".parquet"), buffer.getvalue())
    content = {name: value for name, value in vars(cell).items() if name not in ("tested", "validation")}
    content |= {
        "cost": asdict(cell.cost),
        "counts": asdict(cell.counts),
        "about": wanted.about,
        "protocol": asdict(wanted.protocol),
        "parquet_sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
    }
    write_atomic(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def load_cell(cells: Path, wanted: Wanted) -> Cell:
    """Read a cell.

    Raises:
        IntegrityError: It is damaged.
    """
    file = wanted.file(cells)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        data = file.with_suffix(".parquet").read_bytes()
        if hashlib.sha256(data).hexdigest() != content["parquet_sha256"]:
            raise IntegrityError(field="cell", value=file.with_suffix(".parquet"), remedy=_REMEDY)
        table = pl.read_parquet(BytesIO(data))
        return Cell(
            tested=_per_k(table.filter(pl.col("tested"))),
            validation=_per_k(table.filter(~pl.col("tested"))),
            cost=Cost(**content["cost"]),
            counts=read_counts(content["counts"]),
            rounded=content.get("rounded", False),
            **{name: content[name] for name in KEPT},
        )
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise IntegrityError(field="cell", value=f"{file}: {error}", remedy=_REMEDY) from error


def load_times(cells: Path, wanted: Wanted) -> tuple[float, float]:
    """Return the processor seconds of a cell's fit, and of all else; errors as `load_cell`.

    Where training was done earlier, its wall time is used.
    """
    file = wanted.file(cells)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        cost = content["cost"]
        fit_s = cost["fit_s"] if cost["fit_cpu_s"] is None else cost["fit_cpu_s"]
        return float(fit_s), float(content["cpu_seconds"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IntegrityError(field="cell", value=f"{file}: {error}", remedy=_REMEDY) from error


def _set_fields(protocol: ProtocolSettings) -> dict[str, Any]:
    """Return the settings that are not the defaults, so that a new one leaves the keys of old cells."""
    plain = asdict(ProtocolSettings())
    return {name: value for name, value in asdict(protocol).items() if value != plain[name]}


def _table(cell: Cell) -> pl.DataFrame:
    parts = []
    for tested, per_k in ((True, cell.tested), (False, cell.validation)):
        for k, users in per_k.items():
            values = np.array(list(users.values())).reshape(len(users), len(METRICS))
            columns: dict[str, Any] = {"tested": [tested] * len(users), "k": [k] * len(users)}
            columns |= {"user": list(users)}
            columns |= {metric: values[:, index] for index, metric in enumerate(METRICS)}
            if users:
                parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def _per_k(table: pl.DataFrame) -> dict[int, dict[UserId, Doubles]]:
    found: dict[int, dict[UserId, Doubles]] = {}
    for (k,), part in table.group_by(["k"], maintain_order=True):
        values = part.select(METRICS).to_numpy()
        found[int(str(k))] = dict(zip(part["user"].to_list(), values, strict=True))
    return found
