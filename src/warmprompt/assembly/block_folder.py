"""A folder of numbered blocks, on a disk or in an object store; each file is there whole or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq

from warmprompt.data.event_files import open_place
from warmprompt.errors import StorageError
from warmprompt.files import write_atomic
from warmprompt.types import short_repr

_BLOCK = re.compile(r"block-(\d+)\.parquet")


@dataclass(frozen=True, kw_only=True, eq=False)
class BlockFolder:
    """Where blocks are kept.

    Attributes:
        file_system: That of fsspec.
        path: In that file system.
        is_local: Whether it is a folder of this machine.
    """

    file_system: Any
    path: str
    is_local: bool

    __repr__ = short_repr

    def blocks(self) -> set[int]:
        """Return the numbers of the blocks that are there."""
        self.file_system.invalidate_cache()
        if not self.file_system.isdir(self.path):
            return set()
        names = (PurePosixPath(each).name for each in self.file_system.ls(self.path, detail=False))
        return {int(match[1]) for name in names if (match := _BLOCK.fullmatch(name))}

    def read(self, name: str) -> bytes | None:
        """Return the bytes of a file, or None where it is not there."""
        self.file_system.invalidate_cache()
        try:
            data: bytes = self.file_system.cat_file(f"{self.path}/{name}")
        except FileNotFoundError:
            return None
        return data

    def note_of(self, block: int, key: bytes) -> bytes:
        """Return what was noted under a key in a block's footer."""
        with self.file_system.open(f"{self.path}/{block_name(block)}", "rb") as file:
            note: bytes = pq.read_schema(file).metadata[key]
        return note

    def write(self, name: str, data: bytes) -> None:
        """Write a file, replacing the one that is there.

        Raises:
            StorageError: It could not be written.
            BadInputError: A folder is in the way, or a parent is a file.
        """
        if self.is_local:
            write_atomic(Path(self.path) / name, data)
            return
        try:
            # An object store shows an object when all of it has come.
            self.file_system.pipe_file(f"{self.path}/{name}", data)
        except OSError as error:
            remedy = f"Check the store and the rights to write there ({error})."
            raise StorageError(field="cannot write", value=f"{self.path}/{name}", remedy=remedy) from error


def block_name(block: int) -> str:
    """Return the name of a block's file."""
    return f"block-{block:06}.parquet"


def open_folder(place: str) -> BlockFolder:
    """Return a folder by its path or URL; it is made with its first file.

    Raises:
        BadInputError: No file system of that name, or its package is not installed.
    """
    file_system, path = open_place(place, field="--out")
    protocol = file_system.protocol
    is_local = "file" in ((protocol,) if isinstance(protocol, str) else protocol)
    return BlockFolder(file_system=file_system, path=path.rstrip("/"), is_local=is_local)
