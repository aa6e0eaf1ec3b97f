"""What fetching and converting share: the manifest's name and the hash of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path

MANIFEST = "manifest.json"


def file_sha256(file: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with file.open("rb") as reader:
        return hashlib.file_digest(reader, "sha256").hexdigest()
