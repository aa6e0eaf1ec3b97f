"""Where data sets live on this machine, and how a name becomes a folder."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

import platformdirs

from warmprompt.data.tables import MANIFEST
from warmprompt.errors import BadInputError, UnknownNameError

HOME_VARIABLE = "WARMPROMPT_HOME"


def data_home() -> Path:
    """Return the folder that holds the data sets: $WARMPROMPT_HOME/data, else the user's data folder."""
    home = os.environ.get(HOME_VARIABLE) or platformdirs.user_data_dir("warmprompt")
    return Path(home).expanduser() / "data"


def dataset_folder(name: str) -> Path:
    """Return where the data set of this name lies or would lie.

    Raises:
        BadInputError: The name is not made of letters, digits, ".", "_" and "-".
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise BadInputError(
            field="data set name",
            value=name,
            remedy="Use letters, digits, '.', '_' and '-', a letter or digit first.",
        )
    return data_home() / name


def imported_names() -> tuple[str, ...]:
    """Return the names of the data sets in the data home, sorted."""
    home = data_home()
    if not home.is_dir():
        return ()
    # A folder that starts with a dot is an import under way or abandoned.
    found = (path.name for path in home.iterdir() if (path / MANIFEST).is_file())
    return tuple(sorted(name for name in found if not name.startswith(".")))


def is_dataset_folder(name_or_folder: str | Path) -> bool:
    """Tell whether this is the path of a stored data set; a folder of other files may be called like one."""
    return (Path(name_or_folder) / MANIFEST).is_file()


def find_dataset(name_or_folder: str | Path, *, also_known: tuple[str, ...] = ()) -> Path:
    """Return the folder of a data set given by name or by path.

    Args:
        name_or_folder: A name in the data home, or a folder with a manifest.
        also_known: Names to suggest besides the imported ones.

    Raises:
        UnknownNameError: Neither; lists the known names, the nearest first.
    """
    if is_dataset_folder(name_or_folder):
        return Path(name_or_folder)
    imported = imported_names()
    if str(name_or_folder) in imported:
        return data_home() / str(name_or_folder)
    known = sorted({*imported, *also_known})
    near = difflib.get_close_matches(str(name_or_folder), known, n=3, cutoff=0.5)
    listed = ", ".join([*near, *(name for name in known if name not in near)]) or "none yet"
    raise UnknownNameError(
        field="data set",
        value=name_or_folder,
        remedy=f"Known: {listed}. Get one with `warmprompt data get` or `warmprompt data import`.",
    )
