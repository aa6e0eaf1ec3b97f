"""How long work shows on the screen: bars with rate and time left in a terminal, plain lines elsewhere.

All of it goes to stderr, so that stdout holds results alone.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from warmprompt.meta.trainer import TrainingProgress

_PLAIN_EVERY_S = 15.0
_TITLES = {"tangent": "head and items", "prompt": "prompts"}


@contextmanager
def shown_progress(
    *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[str | TrainingProgress], None]]:
    """Yield what `train_run` and `evaluate_run` report their progress to."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    if console.is_terminal:
        with _bars(console) as bars:
            yield _Bars(bars)
    else:
        yield _Lines(clock)


@contextmanager
def counting(
    what: str, *, clock: Callable[[], float] = time.monotonic
) -> Iterator[Callable[[int, int], None]]:
    """Yield a callback for how many of something are done, and how many there are."""
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    begun_s = last_s = clock()
    if console.is_terminal:
        with _bars(console) as bars:
            task = bars.add_task(what, total=None, rate="")

            def move(done: int, total: int) -> None:
                rate = f"{done / max(clock() - begun_s, 1e-9):,.0f} {what}/s"
                bars.update(task, completed=done, total=total, rate=rate)

            yield move
        return

    def tell(done: int, total: int) -> None:
        nonlocal last_s
        now_s = clock()
        if now_s - last_s >= _PLAIN_EVERY_S:
            last_s = now_s
            left_s = (now_s - begun_s) / done * (total - done)
            sys.stderr.write(
                f"[{now_s - begun_s:5.0f} s] {done:,} of {total:,} {what}, {left_s:,.0f} s left\n"
            )
            sys.stderr.flush()

    yield tell


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("left at most"),
        TimeRemainingColumn(),
        console=console,
    )


class _Bars:
    """One bar per stage of training; other lines scroll above."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, event: str | TrainingProgress) -> None:
        if isinstance(event, str):
            self._bars.console.print(event)
            return
        if event.validation is not None:
            self._bars.console.print(_validated(event))
            return
        title = _TITLES[event.stage]
        if event.stage not in self._tasks or event.epoch == 0 == event.batch - 1:
            for task in self._tasks.values():
                self._bars.stop_task(task)
            self._tasks[event.stage] = self._bars.add_task(title, total=event.epochs * event.batches, rate="")
        self._bars.update(
            self._tasks[event.stage],
            completed=event.epoch * event.batches + event.batch,
            rate=f"{event.users_per_s:,.0f} users/s",
        )


class _Lines:
    """A line for what begins, for each validation, and every quarter of a minute."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begun = self._last = clock()
        self._stage: tuple[str, float, int] | None = None

    def __call__(self, event: str | TrainingProgress) -> None:
        if isinstance(event, str):
            self._print(event)
        elif event.validation is not None:
            self._print(_validated(event))
        else:
            self._step(event)

    def _step(self, event: TrainingProgress) -> None:
        done, total = event.epoch * event.batches + event.batch, event.epochs * event.batches
        now = self._clock()
        if self._stage is None or self._stage[0] != event.stage or done <= self._stage[2]:
            self._stage = (event.stage, now, done)
        if now - self._last < _PLAIN_EVERY_S:
            return
        _, begun, first = self._stage
        left_s = (now - begun) / (done - first) * (total - done) if done > first else None
        left = "" if left_s is None else f", at most {left_s:,.0f} s left"
        self._print(f"{_TITLES[event.stage]}: step {done} of {total}, {event.users_per_s:,.0f} users/s{left}")

    def _print(self, line: str) -> None:
        self._last = self._clock()
        sys.stderr.write(f"[{self._last - self._begun:5.0f} s] {line}\n")
        sys.stderr.flush()


def _validated(event: TrainingProgress) -> str:
    mark = " (best so far)" if event.validation == event.best else ""
    title = _TITLES[event.stage]
    return f"{title}, epoch {event.epoch} of {event.epochs}: validation loss {event.validation:.4f}{mark}"
