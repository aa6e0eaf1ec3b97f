"""The folder of a run: who may write to it, what may lie there, and which run it holds already."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from warmprompt.errors import BadInputError, IntegrityError
from warmprompt.files import locked, writing_to
from warmprompt.runs.format import MANIFEST, Trained, load_trained

_LOCK = ".lock"
_OURS = {MANIFEST, "model.safetensors", "items.parquet", "training", "tensorboard", "tuning"}
_RESULTS = {"results.json", "report.md", "metrics.png"}


def check_location(folder: Path) -> None:
    """Refuse a file, and a folder with anything in it that no run leaves there, such as a data set."""
    if folder.is_file():
        raise BadInputError(field="run folder", value=folder, remedy="It is a file; name another place.")
    if not folder.is_dir():
        return
    foreign = sorted(
        path.name
        for path in folder.iterdir()
        if path.name not in _OURS | _RESULTS and not path.name.startswith((".", "seed-"))
    )
    if foreign:
        raise BadInputError(
            field="run folder",
            value=folder,
            remedy=f"It holds something else ({', '.join(foreign[:3])}); name another place.",
        )


def finished_run(folder: Path, identity: dict[str, Any]) -> Trained | None:
    """Return the run where this very one lies there, finished and whole; reads alone."""
    if not (folder / MANIFEST).is_file():
        return None
    with suppress(IntegrityError):
        finished = load_trained(folder)
        if finished.manifest.get("identity") == identity:
            return finished
    return None


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let nobody else train into the folder while the block runs; a new one that stays empty is removed.

    Raises:
        BadInputError: Somebody else does, or no folder can be made there.
        StorageError: It cannot be written to.
    """
    existed = folder.exists()
    try:
        with writing_to(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError:
        remedy = "No folder can be made there; name another place."
        raise BadInputError(field="output folder", value=folder, remedy=remedy) from None
    try:
        with _lock(folder):
            yield
    finally:
        if not existed:
            with suppress(OSError):
                folder.rmdir()


def prepare(folder: Path, identity: dict[str, Any], *, overwrite: bool) -> Trained | None:
    """Return the finished run where this very one lies there; else see that the folder may be used.

    Raises:
        BadInputError: It holds a finished run of other settings that is not to be overwritten.
        IntegrityError: It holds a damaged one, likewise.
    """
    if (folder / MANIFEST).is_file():
        finished = _finished(folder, overwrite=overwrite)
        if finished is not None and finished.manifest.get("identity") == identity:
            return finished
        if not overwrite:
            raise BadInputError(
                field="run folder",
                value=folder,
                remedy=f"It holds a finished run{_difference(finished, identity)}; name another place, or "
                "add --overwrite.",
            )
    if overwrite:
        _clear(folder)
    return None


def _lock(folder: Path) -> AbstractContextManager[None]:
    return locked(folder / _LOCK, field="run folder", value=folder, doing="is training into it")


def _finished(folder: Path, *, overwrite: bool) -> Trained | None:
    """Return the run, or None where it is damaged and is to be overwritten anyway."""
    try:
        return load_trained(folder)
    except IntegrityError:
        if overwrite:
            return None
        raise


def _clear(folder: Path) -> None:
    """Remove a run, its manifest first, so that what is left of an interrupted removal is no run.

    Models of other splits inside it go too, unless somebody is training one of them.
    """
    inside = sorted(path for path in folder.glob("seed-*") if path.is_dir())
    with ExitStack() as locks, writing_to(folder):
        for path in inside:
            locks.enter_context(_lock(path))
        for name in (MANIFEST, *sorted(_OURS | _RESULTS), *(path.name for path in folder.glob("seed-*"))):
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _difference(finished: Trained | None, identity: dict[str, Any]) -> str:
    """Return in words the first thing in which a finished run differs from the wanted one."""
    recorded = finished.manifest.get("identity") if finished else None
    if not isinstance(recorded, dict):
        return ""
    for section, values in identity["settings"].items():
        for key, value in values.items():
            before = recorded.get("settings", {}).get(section, {}).get(key)
            if before != value:
                return f" of other settings ({section}.{key} is {before}, not {value})"
    parts = ("data", "users", "backbone", "user_text")
    other = next((key for key in parts if recorded.get(key) != identity[key]), None)
    return f" of other {other}" if other else ""
