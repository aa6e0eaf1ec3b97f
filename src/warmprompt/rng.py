"""Derived randomness: one seed at the top, named generators below it.

A generator depends only on the seed and its path, never on how many numbers
were drawn elsewhere, so results do not depend on iteration order.
"""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """Return a 63-bit seed that depends on `seed` and `path` alone.

    The parts are hashed with their types and lengths, so ("a", "bc") and
    ("ab", "c"), or 1 and "1", give different seeds.
    """
    digest = hashlib.sha256()
    for part in (seed, *path):
        text = str(part).encode()
        digest.update(f"{type(part).__name__}:{len(text)}:".encode() + text)
    return int.from_bytes(digest.digest()[:8], "little") >> 1


def derive(seed: int, *path: str | int) -> np.random.Generator:
    """Return a NumPy generator (PCG64) for `derive_seed(seed, *path)`."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *path)))
