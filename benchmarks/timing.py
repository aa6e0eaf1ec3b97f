"""How long calls take."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np


def timed(work: Callable[..., object], over: range) -> list[float]:
    """Return the milliseconds of each call."""
    times = []
    for number in over:
        started = time.perf_counter()
        work(number)
        times.append(1000 * (time.perf_counter() - started))
    return times


def quantiles(values: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile."""
    return {"p50": float(np.quantile(values, 0.5)), "p99": float(np.quantile(values, 0.99))}


def stopwatch() -> Callable[..., None]:
    """Return a function that prints its words after the seconds since now."""
    begun = time.perf_counter()

    def say(*words: object) -> None:
        print(f"{time.perf_counter() - begun:7.1f} s", *words, flush=True)

    return say
