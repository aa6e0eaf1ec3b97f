"""Files and folders that are there whole or not at all.

Everything is written beside its place under a temporary name, flushed to the
disk and renamed, so a reader (or a run resumed after a kill) never meets half a
file. Whatever goes wrong, the temporary name is removed; what a killed process
left is swept by the next one that writes to the same place.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from warmprompt.errors import BadInputError, StorageError, WarmpromptError


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file, replacing the one that is there; missing parent folders are made.

    Raises:
        StorageError: The disk is full, the place may not be written, or the disk failed.
        BadInputError: A folder is in the way, or a parent is a file.
    """
    path = path.resolve()
    with writing_to(path):
        temp = _temporary(path)
        try:
            with temp.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temp.replace(path)
        finally:
            temp.unlink(missing_ok=True)
        _sync(path.parent)


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Yield a name to write a file under; when the block ends without an error it becomes `final`.

    Raises:
        StorageError, BadInputError: As `write_atomic`, also for writes inside the block.
    """
    final = final.resolve()
    with writing_to(final):
        temp = _temporary(final)
        try:
            yield temp
            _sync(temp)
            temp.replace(final)
        finally:
            temp.unlink(missing_ok=True)
        _sync(final.parent)


@contextmanager
def new_folder(final: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends without an error it becomes `final`.

    Args:
        final: Where the folder shall be; its parents are made.
        overwrite: Whether a folder with something in it may be replaced. An empty one always may.

    Raises:
        BadInputError: `final` is a file, or a folder with something in it that may not be replaced.
        StorageError: Writing failed, also inside the block and through another library.
    """
    final = final.resolve()
    if not overwrite:
        _refuse_taken(final)
    if final.exists() and not final.is_dir():
        raise BadInputError(field="output folder", value=final, remedy="It is a file; name another place.")
    with writing_to(final):
        temp = _temporary(final)
        try:
            temp.mkdir()
            yield temp
            if not overwrite:
                _refuse_taken(final)
            replace_folder(temp, final)
        finally:
            shutil.rmtree(temp, ignore_errors=True)


def replace_folder(temp: Path, final: Path) -> None:
    """Put `temp` in the place of `final` in one step; an old `final` is deleted afterwards.

    Both lie in the same folder. On Linux the two names are exchanged, so `final` is never missing;
    where the file system cannot do that, it is missing between two renames.

    Raises:
        StorageError: The disk is full or the place may not be written; `final` is as it was.
    """
    with writing_to(final):
        for path in [*temp.rglob("*"), temp]:
            _sync(path)
        if not final.exists():
            temp.rename(final)
        elif not _exchange(temp, final):
            old = _temporary(final)
            final.rename(old)
            temp.rename(final)
            old.rename(temp)
        _sync(final.parent)
    shutil.rmtree(temp, ignore_errors=True)


@contextmanager
def locked(lock: Path, *, field: str, value: object, doing: str) -> Iterator[None]:
    """Hold a lock while the block runs; whoever else asks for it is refused at once.

    The system keeps the lock (`flock`) and frees it when the process ends, however it ends. The file tells
    who holds it, and is removed afterwards; one that a killed process left behind locks nothing.

    Args:
        lock: The lock's file, in a folder that is there.
        field: What is locked, such as "run folder".
        value: Which one.
        doing: What the holder does, such as "is training into it".

    Raises:
        BadInputError: Another process, or another thread of this one, holds it; names its id, host and start.
        StorageError: The place may not be written, or its file system keeps no locks.
    """
    with writing_to(lock):
        descriptor = _lock(lock)
    if descriptor is None:
        raise BadInputError(
            field=field,
            value=value,
            remedy=f"{_holder(lock)} {doing}; wait until it has ended, or name another place.",
        )
    try:
        yield
    finally:
        # Removed while it is still held: whoever has opened this file meanwhile sees that it is gone.
        with suppress(OSError):
            lock.unlink()
        os.close(descriptor)


@contextmanager
def locked_path(final: Path, *, field: str, doing: str) -> Iterator[None]:
    """Hold the lock on a file or folder that is to be replaced whole, by a hidden file beside it.

    Arguments and errors as `locked`; parents are made.
    """
    final = final.resolve()
    with writing_to(final):
        final.parent.mkdir(parents=True, exist_ok=True)
    with locked(final.with_name(f".{final.name}.lock"), field=field, value=final, doing=doing):
        yield


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Turn a failed write inside the block, also by another library, into a one-line error about `path`.

    Raises:
        StorageError: The disk is full, the place may not be written, or the disk failed.
        BadInputError: Something else is in the way.
    """
    try:
        yield
    except WarmpromptError:
        raise
    except Exception as error:
        meant = _meaning(path, error)
        if meant is None:
            raise
        raise meant from error


def refuse_full_disk(message: str, target: Path) -> None:
    """Raise StorageError where the message of a program that was to write to `target` names a full disk."""
    if os.strerror(errno.ENOSPC) in message:
        remedy = "The disk, or the one for temporary files, is full; free some space or name another place."
        raise StorageError(field="cannot write", value=target, remedy=remedy)


_FAULTS = {
    errno.ENOSPC: "The disk is full; free some space or name another place.",
    errno.EDQUOT: "Your disk quota is used up; free some space or name another place.",
    errno.EFBIG: "The file would be larger than this process or file system allows; name another place.",
    errno.EACCES: "You may not write there; change the permissions or name another place.",
    errno.EPERM: "You may not write there; change the permissions or name another place.",
    errno.EROFS: "The file system is read-only; name another place.",
    errno.EIO: "The disk reported an error; check it or name another place.",
    errno.ENOLCK: "Its file system keeps no locks; name a place on a local disk.",
    errno.ENOSYS: "Its file system keeps no locks; name a place on a local disk.",
    errno.EOPNOTSUPP: "Its file system does not support this; name a place on a local disk.",
}
_IN_THE_WAY = {
    errno.ENOTDIR: "A parent of it is a file.",
    errno.EEXIST: "Something else is in its place.",
    errno.EISDIR: "It is a folder.",
    errno.ENOTEMPTY: "It is a folder with something in it.",
    errno.ENAMETOOLONG: "The name is too long.",
}


def _meaning(path: Path, error: Exception) -> WarmpromptError | None:
    """Return what a failed write means for the person who asked for it, or None if it is no such failure.

    Libraries written in Rust say "(os error 28)" in the text of an exception of their own. An error
    that names a file elsewhere, such as one that was only read, is none.
    """
    path = path.resolve()
    if isinstance(error, OSError) and isinstance(error.filename, str):
        named = Path(error.filename).resolve()
        if not (named.is_relative_to(path.parent) or path.is_relative_to(named)):
            return None
    code = error.errno if isinstance(error, OSError) else None
    found = re.search(r"\(os error (\d+)\)", str(error))
    code = int(found.group(1)) if code is None and found else code
    if code in _IN_THE_WAY:
        return BadInputError(
            field="output path", value=path, remedy=f"{_IN_THE_WAY[code]} Name another place."
        )
    if code in _FAULTS:
        return StorageError(field="cannot write", value=path, remedy=_FAULTS[code])
    return None


def _refuse_taken(final: Path) -> None:
    if final.is_dir() and any(final.iterdir()):
        remedy = "It exists already and is not empty; name another place or delete it."
        raise BadInputError(field="output folder", value=final, remedy=remedy)


def _lock(lock: Path) -> int | None:
    """Return the descriptor that holds the lock, or None where another one does."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_same_file(descriptor, lock):
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "since_s": int(time.time())}
                # On a full disk it is held all the same, and names nobody.
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, json.dumps(holder).encode())
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        # The holder before has just removed it: a lock on a file without a name keeps nobody out.
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _holder(lock: Path) -> str:
    """Return who holds a lock, in words."""
    try:
        holder = json.loads(lock.read_bytes())
        since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(holder["since_s"]))
        return f"Process {holder['pid']} on {holder['host']}, since {since},"
    except (OSError, ValueError, KeyError, TypeError):
        return "Another process"  # it has just begun, or just ended


def _temporary(final: Path) -> Path:
    """Return an unused name beside `final`, after sweeping those of processes that are gone."""
    final.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{final.name[:80]}.{socket.gethostname()[:40]}."
    for path in final.parent.iterdir():
        owner = re.fullmatch(rf"{re.escape(prefix)}(\d+)\.[0-9a-f]{{8}}\.tmp", path.name)
        if owner and not _is_running(int(owner.group(1))):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    return final.with_name(f"{prefix}{os.getpid()}.{token_hex(4)}.tmp")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(path: Path) -> None:
    """Flush a file or a folder's list of names to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with suppress(InterruptedError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step (Linux renameat2 with RENAME_EXCHANGE); return whether that worked."""
    here, swap = -100, 2
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), swap) == 0)


def finite(value: Any) -> Any:
    """Return a value as JSON can hold it: NaN and infinities, however deep inside, become null."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
