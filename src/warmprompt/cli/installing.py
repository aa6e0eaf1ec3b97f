"""Which command installs a package that this environment lacks."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Modules whose distribution has another name.
_DISTRIBUTIONS = {"sklearn": "scikit-learn"}


def install_command(module: str) -> str:
    """Return the command that installs what brings a module; empty where warmprompt does not ask for it.

    In a clone it installs the clone again, with the extra and the pinned versions; elsewhere it names the
    packages themselves, since warmprompt may have come from a file.
    """
    top = module.partition(".")[0]
    wanted = canonicalize_name(_DISTRIBUTIONS.get(top, top))
    try:
        ours = distribution("warmprompt")
    except PackageNotFoundError:
        return ""
    needed = list(_needed(ours))
    found = [(one, extra) for one, extra in needed if canonicalize_name(one.name) == wanted]
    if not found:
        return ""
    requirement, extra = found[0]
    command = [_near(Path(sys.executable)), "-m", "pip", "install"]
    if (clone := _clone_of(ours)) is not None:
        pins = clone / "constraints.txt"
        command += ["--constraint", _near(pins)] if pins.is_file() else []
        command += ["--editable", _near(clone) + (f"[{extra}]" if extra else "")]
    else:
        # All of the extra at once; of the core, whose rest is there, the one that is missing.
        missing = [one for one, other in needed if other == extra] if extra else [requirement]
        command += [_without_marker(one) for one in missing]
    return shlex.join(command)


def _needed(ours: Distribution) -> Iterator[tuple[Requirement, str]]:
    """Yield what warmprompt asks for, each with the extra that brings it; "" is the core."""
    extras = ours.metadata.get_all("Provides-Extra") or ()
    for requirement in map(Requirement, ours.requires or ()):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            yield requirement, ""
            continue
        for extra in extras:
            if marker.evaluate({"extra": extra}):
                yield requirement, extra


def _without_marker(requirement: Requirement) -> str:
    bare = Requirement(str(requirement))
    bare.marker = None
    return str(bare)


def _clone_of(ours: Distribution) -> Path | None:
    """Return the source folder of an editable installation, from what pip recorded (PEP 610)."""
    record = json.loads(ours.read_text("direct_url.json") or "{}")
    if not record.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(record["url"]).path))


def _near(path: Path) -> str:
    """Return a path as short as it can be typed here."""
    here = Path.cwd()
    return os.path.relpath(path, here) if path.is_relative_to(here) else str(path)
