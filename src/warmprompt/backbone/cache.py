"""Vectors on disk by the content they were computed from.

One SQLite file per (weights, layer, width): whatever changes the numbers
changes the file. Writes are transactions, so several processes may add to a
file and a killed one leaves it whole.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np

from warmprompt.errors import IntegrityError, StorageError
from warmprompt.types import Floats

_BUSY_S = 60.0
_VARIABLES = 500


def content_key(*parts: str | int) -> str:
    """Return the SHA-256 of some parts as hexadecimal text; parts do not run into one another."""
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(f"{len(text)}:".encode() + text)
    return digest.hexdigest()


def read_vectors(file: Path, keys: Sequence[str]) -> dict[str, Floats]:
    """Return the vectors that a cache file holds for some keys, each (H,); absent keys are left out.

    Raises:
        IntegrityError: The file is damaged, or its vectors differ in width.
    """
    if not file.exists():
        return {}
    found: dict[str, Floats] = {}
    with _open(file) as database:
        for start in range(0, len(keys), _VARIABLES):
            some = keys[start : start + _VARIABLES]
            marks = ",".join("?" * len(some))
            rows = database.execute(f"SELECT key, vector FROM vectors WHERE key IN ({marks})", some)
            found.update((key, np.frombuffer(data, dtype="<f4")) for key, data in rows)
    if len({vector.shape for vector in found.values()}) > 1:
        raise _damaged(file, "vectors of several widths")
    return found


def write_vectors(file: Path, vectors: Mapping[str, Floats]) -> None:
    """Add vectors in one transaction; keys that are there already keep their vector.

    Raises:
        StorageError: The disk is full or may not be written.
        IntegrityError: The file is damaged.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            field="cannot write", value=file, remedy="Free some space or name another WARMPROMPT_HOME."
        ) from error
    with _open(file) as database, database:
        database.execute("CREATE TABLE IF NOT EXISTS vectors (key TEXT PRIMARY KEY, vector BLOB NOT NULL)")
        database.executemany(
            "INSERT OR IGNORE INTO vectors VALUES (?, ?)",
            ((key, np.ascontiguousarray(vector, dtype="<f4").tobytes()) for key, vector in vectors.items()),
        )


@contextmanager
def _open(file: Path) -> Iterator[sqlite3.Connection]:
    try:
        with closing(sqlite3.connect(file, timeout=_BUSY_S)) as database:
            yield database
    except sqlite3.OperationalError as error:
        raise StorageError(
            field="cannot read or write",
            value=f"{file}: {error}",
            remedy="Free some space, check the permissions, or name another WARMPROMPT_HOME.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged(file, str(error)) from error


def _damaged(file: Path, what: str) -> IntegrityError:
    return IntegrityError(
        field="text vectors in the cache", value=what, remedy=f"Remove {file}; it is rebuilt."
    )
