"""What a request gets to rank with, and the batch of adaptations that makes it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from warmprompt.adaptation.state import UserState
from warmprompt.service.held import Adapted, AdaptJob, Held
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.live import Model, adapt_all


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A state to rank with.

    Attributes:
        model: Ranks with it.
        state: The state.
        seq: Entries of the log that the state knows.
        last_seq: Entries of the log.
        left_out: Events that the model cannot use.
        adapt_ms: How long its pass took; None where none was needed.
        held: The user in memory, None for somebody unknown.
        stale: The state does not know all that was told, or is of a former model.
    """

    model: Model
    state: UserState
    seq: int
    last_seq: int
    left_out: int = 0
    adapt_ms: float | None = None
    held: Held | None = None
    stale: bool = False


def answer_of(adapted: Adapted | None, held: Held, models: Sequence[Model], *, asked_seq: int) -> Answer:
    """Return the answer that a state gives, or, where no model in service can use it, the start's.

    It is stale unless it knows what had been told when it was asked for.

    Args:
        adapted: The state at hand, or None.
        held: The user.
        models: The model in service, then the former one.
        asked_seq: Entries of the log when the request came.
    """
    last_seq = held.told.seq
    for model in models:
        if adapted is not None and adapted.version == model.version:
            return Answer(
                model=model,
                state=adapted.state,
                seq=adapted.seq,
                last_seq=max(last_seq, adapted.seq),
                left_out=adapted.left_out,
                adapt_ms=adapted.adapt_ms,
                held=held,
                stale=model is not models[0] or adapted.seq < asked_seq,
            )
    return Answer(model=models[0], state=models[0].start, seq=0, last_seq=last_seq, held=held, stale=True)


def adapt_jobs(jobs: Sequence[AdaptJob], metrics: Metrics) -> list[Adapted]:
    """Adapt a batch, in the model's thread; jobs of different models run apart.

    Raises:
        NotFiniteError: A loss became NaN or infinite.
    """
    found: dict[int, Adapted] = {}
    for model in {id(job.model): job.model for job in jobs}.values():
        places = [place for place, job in enumerate(jobs) if job.model is model]
        begun_s = time.perf_counter()
        states = adapt_all(model, [jobs[place].known for place in places])
        spent_s = time.perf_counter() - begun_s
        metrics.adaptation.observe(spent_s)
        metrics.batch.observe(len(places))
        for place, state in zip(places, states, strict=True):
            job = jobs[place]
            found[place] = Adapted(
                version=model.version,
                seq=job.told.seq,
                evidence_hash=job.told.evidence_hash,
                state=state,
                left_out=job.left_out,
                adapt_ms=round(1000 * spent_s, 2),
            )
    return [found[place] for place in range(len(jobs))]
