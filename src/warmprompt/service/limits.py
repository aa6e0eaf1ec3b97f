"""Rate limit per client."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from warmprompt.lru import LruCache

_BUCKETS = 10_000


@dataclass(kw_only=True)
class _Bucket:
    tokens: float
    filled_s: float


class RateLimit:
    """A token bucket per client; the client not seen for longest is dropped first, as its bucket is full.

    Args:
        per_s: Tokens added a second; 0 means no limit.
        burst: Tokens that a bucket holds.
        clock: Monotonic, seconds.
    """

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = float(max(1, burst))
        self._clock = clock
        self._buckets: LruCache[str, _Bucket] = LruCache(_BUCKETS)

    def wait_s(self, client: str, tokens: float = 1.0) -> float:
        """Take tokens and return 0, or return how long the client must wait for them.

        Args:
            client: Whose bucket.
            tokens: The price; what is dearer than a full bucket costs a full bucket.
        """
        if self._per_s <= 0:
            return 0.0
        price = min(tokens, self._burst)
        now_s = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = _Bucket(tokens=self._burst, filled_s=now_s)
            self._buckets.put(client, bucket)
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.filled_s) * self._per_s)
        bucket.filled_s = now_s
        if bucket.tokens >= price:
            bucket.tokens -= price
            return 0.0
        return (price - bucket.tokens) / self._per_s
