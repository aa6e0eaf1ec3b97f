"""The hash of a log, entry by entry."""

from __future__ import annotations

from hashlib import sha256

from warmprompt.store.contract import Entry, StoredEntry

NO_EVIDENCE = sha256(b"warmprompt log 1").hexdigest()
"""The evidence hash of an empty log."""


def evidence_after(evidence_hash: str, entry: Entry | StoredEntry) -> str:
    """Return the evidence hash of a log after one further entry.

    SHA-256 over the hash before (32 bytes), the length of the kind in bytes of UTF-8 (4 bytes, big-endian),
    the kind and the body.
    """
    kind = entry.kind.encode()
    hashed = bytes.fromhex(evidence_hash) + len(kind).to_bytes(4, "big") + kind + entry.body.encode()
    return sha256(hashed).hexdigest()
