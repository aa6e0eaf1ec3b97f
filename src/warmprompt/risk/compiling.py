"""numba's compiler with its cache on disk, and what that cache forgets by itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Return the function compiled by numba, kept on disk for the next process."""
    return cast("Function", njit(cache=True)(function))


def forget_stale(folder: Path) -> None:
    """Delete compiled code next to the sources of a folder that is older than any of them.

    Compiled code contains what it calls in other files, but numba compares it with its own file only:
    after a change elsewhere it would go on with the old code. A cache that NUMBA_CACHE_DIR puts
    elsewhere is not looked at; empty it by hand after changing a source file.
    """
    with suppress(OSError):
        newest_s = max((path.stat().st_mtime for path in folder.glob("*.py")), default=0.0)
        for index in folder.glob("__pycache__/*.nbi"):
            if index.stat().st_mtime < newest_s:
                index.unlink(missing_ok=True)
