"""How soon drift detectors notice that a mean doubled, and how often they raise a false alarm.

    python benchmarks/drift.py [--streams 40] [--seed 1000]

Each stream has 10,000 values, then 5,000 with the mean doubled: labels of independent frauds, or scores. An
alarm among the 5,000 is a hit; false alarms are counted on other streams of 30,000 values without change. The
settings of `DriftWatch` were selected with other seeds than the default. Detectors of errors (DDM)
take labels only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from river.drift import ADWIN, KSWIN, PageHinkley
from river.drift.binary import DDM

from warmprompt.risk.profile import DriftWatch
from warmprompt.rng import derive

NUM_BEFORE, NUM_AFTER, NUM_QUIET = 10_000, 5_000, 30_000
Stream = Callable[[np.random.Generator, int, float], np.ndarray]


def frauds(rate: float) -> Stream:
    """Return a maker of labels, 0 or 1."""
    return lambda rng, num, factor: (rng.random(num) < rate * factor).astype(float)


def scores(mean: float, shape: float) -> Stream:
    """Return a maker of beta-distributed scores; the smaller the shape, the more of them near 0 and 1."""
    return lambda rng, num, factor: rng.beta(shape, shape / (mean * factor) - shape, num)


def heavy(mean: float) -> Stream:
    """Return a maker of log-normal scores, cut at 1."""
    return lambda rng, num, factor: np.minimum(1, factor * mean * rng.lognormal(-1.125, 1.5, num))


STREAMS: dict[str, Stream] = {f"fraud {rate:.1%}": frauds(rate) for rate in (0.002, 0.005, 0.01, 0.02, 0.05)}
STREAMS |= {"score .02": scores(0.02, 0.5), "score .2": scores(0.2, 0.5), "score .01, heavy": heavy(0.01)}


class Watch:
    """`DriftWatch` with river's interface."""

    def __init__(self) -> None:
        self.watch, self.drift_detected = DriftWatch(), False

    def update(self, value: float) -> None:
        """Take in one value."""
        self.drift_detected = self.watch.update(value).alarm


DETECTORS: dict[str, tuple[Callable[[], Any], bool]] = {
    "DriftWatch": (Watch, False),
    "ADWIN .002": (lambda: ADWIN(delta=0.002, clock=32), False),
    "ADWIN .05": (lambda: ADWIN(delta=0.05, clock=32), False),
    "ADWIN .5": (lambda: ADWIN(delta=0.5, clock=32), False),
    "PageHinkley": (PageHinkley, False),
    "KSWIN": (lambda: KSWIN(alpha=1e-4, window_size=1000, stat_size=300, seed=0), False),
    "DDM": (DDM, True),
}
FEW = {"KSWIN": 2}


def first_alarm(detector: Any, values: np.ndarray, kind: type) -> int | None:
    """Return after how many values an alarm comes."""
    for number, value in enumerate(values.tolist(), start=1):
        detector.update(kind(value))
        if detector.drift_detected:
            return number
    return None


def measured(make: Callable[[], Any], stream: Stream, kind: type, num: int, seed: int) -> tuple[float, ...]:
    """Return share of hits, median delay, and false alarms per 100,000 values."""
    delays, false = [], 0
    for number in range(num):
        rng = derive(seed, "drift", number)
        detector = make()
        for value in stream(rng, NUM_BEFORE, 1).tolist():
            detector.update(kind(value))
        delays.append(first_alarm(detector, stream(rng, NUM_AFTER, 2), kind))
        detector = make()
        for value in stream(rng, NUM_QUIET, 1).tolist():
            detector.update(kind(value))
            false += bool(detector.drift_detected)
    hits = [delay for delay in delays if delay is not None]
    return len(hits) / num, float(np.median(hits)) if hits else np.nan, false / num / NUM_QUIET * 1e5


def main() -> None:
    """Read the options and print a row per stream and detector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--only", choices=DETECTORS, help="One detector.")
    options = parser.parse_args()
    print("| stream | detector | doubling noticed | median delay | false alarms per 100,000 |")
    print("|---|---|---|---|---|")
    for stream_name, stream in STREAMS.items():
        for name, (make, labels) in DETECTORS.items():
            if (labels and not stream_name.startswith("fraud")) or options.only not in (None, name):
                continue
            num = min(options.streams, FEW.get(name, options.streams))
            hit, delay, false = measured(make, stream, bool if labels else float, num, options.seed)
            print(f"| {stream_name} | {name} | {hit:.1%} | {delay:,.0f} | {false:.2f} |", flush=True)


if __name__ == "__main__":
    main()
