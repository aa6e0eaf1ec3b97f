"""How much a client may ask for: requests in a time, bytes in a body."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

_BUCKETS = 10_000


@dataclass(kw_only=True)
class _Bucket:
    tokens: float
    filled_s: float


class RateLimit:
    """A token bucket per client; the client not seen for longest leaves first, as its bucket is full.

    Args:
        per_s: Tokens that come back a second; 0 lets everybody through.
        burst: Tokens that a bucket holds.
        clock: Monotonic, seconds.
    """

    def __init__(self, *, per_s: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = float(max(1, burst))
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def wait_s(self, client: str) -> float:
        """Take a token and return 0, or return how long it is until there is one."""
        if self._per_s <= 0:
            return 0.0
        now_s = self._clock()
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(tokens=self._burst, filled_s=now_s)
            while len(self._buckets) > _BUCKETS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(client)
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.filled_s) * self._per_s)
        bucket.filled_s = now_s
        if bucket.tokens >= 1:
            bucket.tokens -= 1
            return 0.0
        return (1 - bucket.tokens) / self._per_s
