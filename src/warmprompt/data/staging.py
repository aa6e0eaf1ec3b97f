"""Write a folder whole or not at all: under a temporary sibling name, renamed at the end."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from warmprompt.errors import BadInputError, StorageError

_MARK = ".partial-"


@contextlib.contextmanager
def staged_folder(folder: Path, *, overwrite: bool, owned_by: str) -> Iterator[Path]:
    """Give an empty sibling folder to write to; on leaving without an error it becomes `folder`.

    On an error the sibling is removed. A killed process leaves only the sibling, a hidden
    folder, which the next call for the same `folder` removes.

    Args:
        folder: The final name.
        overwrite: Replace what lies there, if it holds a file `owned_by`.
        owned_by: Name of the file that marks a folder this package made and may delete.

    Raises:
        BadInputError: `folder` exists and may not be replaced.
        StorageError: The disk is full or not writable.
    """
    folder = folder.absolute()
    refuse_existing(folder, overwrite=overwrite, owned_by=owned_by)
    staging = folder.parent / f".{folder.name}{_MARK}{os.getpid()}-{secrets.token_hex(4)}"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        staging.mkdir()
        yield staging
        for path in (*staging.iterdir(), staging):
            _sync(path)
        if folder.exists():
            folder.rename(old := staging.with_name(staging.name + "-old"))
            staging.rename(folder)
            shutil.rmtree(old)
        else:
            staging.rename(folder)
        _sync(folder.parent)
    except OSError as error:
        raise StorageError(
            field=str(folder),
            value=error.strerror or error,
            remedy="Free disk space or choose a writable folder.",
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def refuse_existing(folder: Path, *, overwrite: bool, owned_by: str) -> None:
    """Raise BadInputError where `folder` exists and may not be replaced."""
    if not folder.exists():
        return
    if not overwrite:
        raise BadInputError(
            field=str(folder), value="exists", remedy="Choose another name, or replace it with --overwrite."
        )
    if not (folder / owned_by).is_file():
        raise BadInputError(
            field=str(folder),
            value=f"holds no {owned_by}",
            remedy="Choose another name; this was not made here.",
        )


def _remove_abandoned(folder: Path) -> None:
    prefix = f".{folder.name}{_MARK}"
    for path in folder.parent.iterdir():
        if path.name.startswith(prefix) and not _alive(path.name.removeprefix(prefix).split("-")[0]):
            shutil.rmtree(path, ignore_errors=True)


def _alive(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
