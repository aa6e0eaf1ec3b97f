"""API keys and their scopes.

A key is 256 random bits, so its SHA-256 is as hard to invert as the key is to guess. A slow hash such as
scrypt protects words that people choose; here it would only slow down each request, and a
flood of wrong keys even more. The store holds the hash, never the key, which is shown once, when it is made.
"""

from __future__ import annotations

import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from hashlib import sha256

from warmprompt.errors import BadInputError
from warmprompt.lru import LruCache
from warmprompt.store.contract import ApiKey, Store

SCOPES = ("read", "write", "admin")
PREFIX = "wp_"

_FORM = re.compile(r"wp_[A-Za-z0-9_-]{43}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TRUSTED_S = 5.0
_CACHED = 1024


def new_key(name: str, scopes: Iterable[str], *, now_s: int) -> tuple[str, ApiKey]:
    """Return a new key in its owner's form and in the store's.

    Args:
        name: What people call it by: 1 to 64 letters, digits, dots, hyphens.
        scopes: Of `SCOPES`; `admin` may do everything.
        now_s: Seconds since 1970.

    Raises:
        BadInputError: An invalid name or scope.
    """
    wanted = frozenset(scopes)
    if not _NAME.fullmatch(name):
        raise BadInputError(
            field="name of the key", value=name, remedy="Write 1 to 64 letters, digits, . _ -"
        )
    for scope in sorted(wanted):
        if scope not in SCOPES:
            raise BadInputError(field="--scope", value=scope, remedy=f"Choose of {', '.join(SCOPES)}.")
    if not wanted:
        raise BadInputError(field="--scope", value="none", remedy=f"Choose of {', '.join(SCOPES)}.")
    key = PREFIX + secrets.token_urlsafe(32)
    return key, ApiKey(name=name, key_hash=hash_key(key), scopes=wanted, created_s=now_s)


def hash_key(key: str) -> str:
    """Return the SHA-256 of a key as hexadecimal text."""
    return sha256(key.encode()).hexdigest()


def allows(key: ApiKey, scope: str) -> bool:
    """Return whether a key may be used for a scope."""
    return key.revoked_s is None and (scope in key.scopes or "admin" in key.scopes)


class KeyRing:
    """The store's keys, cached for five seconds; a revoked key works that much longer at most.

    Args:
        store: Holds the hashes.
        clock: Monotonic, seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._recent: LruCache[str, tuple[float, ApiKey]] = LruCache(_CACHED)

    def cached(self, key: str) -> ApiKey | None:
        """Return a key that is cached, without asking the store."""
        found = self._recent.get(hash_key(key))
        return found[1] if found is not None and self._clock() - found[0] < _TRUSTED_S else None

    def find(self, key: str) -> ApiKey | None:
        """Return the key, None for one that is unknown or revoked; waits for the store.

        Raises:
            DatabaseAwayError: The store cannot be reached.
        """
        if not _FORM.fullmatch(key):
            return None
        hashed = hash_key(key)
        found = self._store.find_api_key(hashed)
        if found is None or found.revoked_s is not None or not hmac.compare_digest(found.key_hash, hashed):
            self._recent.pop(hashed)
            return None
        self._recent.put(hashed, (self._clock(), found))
        return found


def any_key(store: Store) -> bool:
    """Return whether any key is in force."""
    return any(key.revoked_s is None for key in store.api_keys())
