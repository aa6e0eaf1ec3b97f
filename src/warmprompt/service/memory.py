"""Memory of models that are no longer in service."""

from __future__ import annotations

import ctypes
import gc


def return_memory() -> None:
    """Free what nothing refers to any more and return it to the system, where the C library can (glibc)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
