"""Do the missing jobs, a process each, several at a time, until all are done or the time is up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from warmprompt.evidence.cells import is_there
from warmprompt.evidence.jobs import EvaluationJob, expected_s, job_to_json
from warmprompt.files import writing_to

_POLL_S = 0.2
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "POLARS_MAX_THREADS",
)

Times = Mapping[tuple[str, str], tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """How far a build is.

    Attributes:
        done, total: Cells measured, cells that were missing at the start.
        running: The jobs under way, each with the last line of its log.
        left_s: Expected seconds to the end, as far as jobs of this kind have been seen; None at first.
        unknown: Jobs left of which nothing is expected yet.
        finished: A line on the job that has just ended, or "".
    """

    done: int
    total: int
    running: tuple[tuple[str, str], ...]
    left_s: float | None
    unknown: int
    finished: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a build came to.

    Attributes:
        done: Cells measured.
        left: Cells still missing.
        failed: Jobs that failed, each with the last line of its log and the log's path.
    """

    done: int
    left: int
    failed: tuple[tuple[str, str, Path], ...]


class RunningJob(Protocol):
    """A job under way."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""

    def terminate(self) -> None:
        """Stop it; what it has begun can be gone on with."""

    def wait(self) -> int:
        """Wait for its end and return the exit code."""


Start = Callable[[EvaluationJob, Path], RunningJob]


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast to go.

    Attributes:
        jobs: Processes at a time.
        limit_minutes: Begin nothing after so many minutes; None has no limit.
        times: Processor seconds that cells have taken so far, per data set and model.
    """

    jobs: int
    limit_minutes: float | None
    times: Times


@dataclass(kw_only=True)
class _Alive:
    """A job under way: its process, its log and when it began."""

    job: EvaluationJob
    process: RunningJob
    log: Path
    begun_s: float


def run_jobs(
    jobs: Sequence[EvaluationJob], root: Path, pace: Pace, *, start: Start, progress: Callable[[Step], None]
) -> Outcome:
    """Do the jobs in order.

    Args:
        jobs: From `missing_jobs`.
        root: The evidence's folder.
        pace: Processes, limit, what is known of times.
        start: Starts a job that writes to a log, as `start_process`.
        progress: Called with the progress of the build, several times a second.
    """
    begun_s = time.monotonic()
    cells, total = root / "cells", sum(len(job.cells) for job in jobs)
    waiting, alive = list(jobs), list[_Alive]()
    failed: list[tuple[str, str, Path]] = []
    done, seen_s = 0, dict[tuple[str, str], float]()
    with _stopping(alive):
        while waiting or alive:
            late = pace.limit_minutes is not None and time.monotonic() - begun_s > 60 * pace.limit_minutes
            if late:
                waiting = []
            while len(alive) < pace.jobs and (job := _next(waiting, alive)) is not None:
                waiting.remove(job)
                log = root / "logs" / f"{job.cells[0].key}.log"
                alive.append(_Alive(job=job, process=start(job, log), log=log, begun_s=time.monotonic()))
            finished = ""
            for one in [one for one in alive if one.process.poll() is not None]:
                alive.remove(one)
                took_s = time.monotonic() - one.begun_s
                made = sum(is_there(cells, wanted) for wanted in one.job.cells)
                done += made
                finished = f"{one.job.name}: {made} of {len(one.job.cells)} cells in {took_s:.0f} s"
                if one.process.poll() or made < len(one.job.cells):
                    failed.append((one.job.name, last_line(one.log), one.log))
                    finished += f", failed: {last_line(one.log)}"
                else:
                    seen_s[one.job.cells[0].dataset, one.job.spec.name] = took_s / len(one.job.cells)
            left_s, unknown = _left(waiting, pace, seen_s)
            progress(
                Step(
                    done=done,
                    total=total,
                    running=tuple((one.job.name, last_line(one.log)) for one in alive),
                    left_s=left_s,
                    unknown=unknown,
                    finished=finished,
                )
            )
            if alive:
                time.sleep(_POLL_S)
    return Outcome(done=done, left=total - done, failed=tuple(failed))


def start_process(job: EvaluationJob, log: Path, *, root: Path, threads: int) -> subprocess.Popen[bytes]:
    """Start a process that does a job on so many threads and writes its output to `log`.

    Raises:
        StorageError: The log cannot be written.
    """
    message = json.dumps({"job": job_to_json(job), "root": str(root), "threads": threads})
    environment = {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads))}
    with writing_to(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "warmprompt.evidence.worker"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )
    assert process.stdin is not None
    process.stdin.write(message.encode())
    process.stdin.close()
    return process


def last_line(log: Path) -> str:
    """Return the last line of a log that holds something, "" where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 2000))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _next(waiting: Sequence[EvaluationJob], alive: Sequence[_Alive]) -> EvaluationJob | None:
    """Return the first job that trains nothing which is being trained."""
    trained = {one.job.fit for one in alive}
    return next((job for job in waiting if job.fit not in trained), None)


@contextmanager
def _stopping(alive: Sequence[_Alive]) -> Iterator[None]:
    """Stop what runs when the block is left early, as by Ctrl-C."""
    try:
        yield
    finally:
        for one in alive:
            one.process.terminate()
        for one in alive:
            one.process.wait()


def _left(
    waiting: Sequence[EvaluationJob], pace: Pace, seen_s: Mapping[tuple[str, str], float]
) -> tuple[float | None, int]:
    """Return the expected seconds of the jobs that wait, and how many nothing is expected of."""
    known = []
    for job in waiting:
        index = (job.cells[0].dataset, job.spec.name)
        one = expected_s(job, pace.times)
        if index in seen_s:
            one = seen_s[index] * len(job.cells)
        if one is not None:
            known.append(one)
    unknown = len(waiting) - len(known)
    return (sum(known) / pace.jobs if known or not waiting else None), unknown
