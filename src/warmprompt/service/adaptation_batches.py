"""Batches of adaptations, and the state that a request ranks with."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from warmprompt.adaptation.state import UserState
from warmprompt.service.cached_user import AdaptedState, AdaptJob, CachedUser
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.served_model import ServedModel, adapt_all

Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A state to rank with.

    Attributes:
        model: Ranks with it.
        state: The state.
        seq: Entries of the log that the state was made from.
        last_seq: Entries of the log.
        left_out: Events that the model cannot use.
        adapt_ms: How long its pass took; None where none was needed.
        cached: The user in memory, None for an unknown user.
        stale: The state was made from a part of the log, or by a former model.
    """

    model: ServedModel
    state: UserState
    seq: int
    last_seq: int
    left_out: int = 0
    adapt_ms: float | None = None
    cached: CachedUser | None = None
    stale: bool = False


def answer_of(
    adapted: AdaptedState | None, cached: CachedUser, models: Sequence[ServedModel], *, asked_seq: int
) -> Answer:
    """Return the answer that a state gives, or that of an unknown user where no model in service can use it.

    It is stale unless it was made from all entries that were in the log when the request came.

    Args:
        adapted: The last state, or None.
        cached: The user.
        models: The model in service, then the former one.
        asked_seq: Entries of the log when the request came.
    """
    last_seq = cached.history.seq
    for model in models:
        if adapted is not None and adapted.version == model.version:
            return Answer(
                model=model,
                state=adapted.state,
                seq=adapted.seq,
                last_seq=max(last_seq, adapted.seq),
                left_out=adapted.left_out,
                adapt_ms=adapted.adapt_ms,
                cached=cached,
                stale=model is not models[0] or adapted.seq < asked_seq,
            )
    return Answer(model=models[0], state=models[0].start, seq=0, last_seq=last_seq, cached=cached, stale=True)


def each_alone_on_error(
    run: Callable[[Sequence[Job]], Sequence[Result]], jobs: Sequence[Job]
) -> Sequence[Result | Exception]:
    """Run a batch; if it fails, run each job alone, so that an error reaches its own caller only."""
    try:
        return run(jobs)
    except Exception as error:  # noqa: BLE001 - it belongs to the jobs, not to the worker
        if len(jobs) == 1:
            return [error]
    return [outcome for job in jobs for outcome in each_alone_on_error(run, [job])]


def adapt_jobs(jobs: Sequence[AdaptJob], metrics: Metrics) -> list[AdaptedState]:
    """Adapt a batch, in the model's thread; jobs of different models run in separate passes.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    found: dict[int, AdaptedState] = {}
    for model in {id(job.model): job.model for job in jobs}.values():
        indices = [index for index, job in enumerate(jobs) if job.model is model]
        begun_s = time.perf_counter()
        states = adapt_all(model, [jobs[index].known for index in indices])
        spent_s = time.perf_counter() - begun_s
        metrics.adaptation.observe(spent_s)
        metrics.batch.observe(len(indices))
        for index, state in zip(indices, states, strict=True):
            job = jobs[index]
            found[index] = AdaptedState(
                version=model.version,
                seq=job.history.seq,
                evidence_hash=job.history.evidence_hash,
                state=state,
                left_out=job.left_out,
                adapt_ms=round(1000 * spent_s, 2),
            )
    return [found[index] for index in range(len(jobs))]
