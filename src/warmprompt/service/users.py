"""Users as the service serves them: the log first, then the state, then the ranking.

    record    append to the log (durable), then let the adaptation begin
    state     the state that knows all that was told, or, when the budget is spent, the best at hand
    forget    out of log, states and memory

All methods run in one event loop; the database answers in threads, the model in one thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import ParamSpec, TypeVar

from warmprompt.adaptation.personaliser import Known
from warmprompt.backbone.threads import use_threads
from warmprompt.errors import BadInputError, DatabaseAwayError
from warmprompt.service.adapting import Answer, adapt_jobs, answer_of
from warmprompt.service.batcher import Batcher, QueueFullError
from warmprompt.service.explanations import Explanations
from warmprompt.service.heads import Heads
from warmprompt.service.held import Adapted, AdaptJob, Held, read_user, texts_in
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.live import Model
from warmprompt.service.settings import ServiceSettings
from warmprompt.service.told import Profile, Told, entry_of, known_to
from warmprompt.service.writing import StateWriter
from warmprompt.store.contract import Appended, Deleted, Entry, Recorded, Store, evidence_after
from warmprompt.types import Event

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class Users:
    """The users in memory, and the way there and back.

    Args:
        store: Log and states.
        model: In service at first.
        settings: How to behave.
        metrics: Told what happens.
    """

    def __init__(self, store: Store, model: Model, *, settings: ServiceSettings, metrics: Metrics) -> None:
        self.store = store
        self.model = model
        self.former: Model | None = None
        self.settings = settings
        self.metrics = metrics
        # A thread begins with as many processor threads of its own as the machine has, until it is told.
        self.model_thread = ThreadPoolExecutor(
            1, thread_name_prefix="model", initializer=use_threads, initargs=(None,)
        )
        self._store_threads = ThreadPoolExecutor(settings.store_threads, thread_name_prefix="store")
        self.batcher: Batcher[AdaptJob, Adapted] = Batcher(
            lambda jobs: adapt_jobs(jobs, metrics),
            limits=settings.batch,
            executor=self.model_thread,
            begun=_mark_begun,
        )
        self.writer = StateWriter(lambda user, state: self.ask(store.put_state, user, state))
        self._held: OrderedDict[str, Held] = OrderedDict()
        self._heads = Heads(lambda users: self.ask(store.heads, users), queue=settings.store_queue)
        self.explanations = Explanations(places=settings.explanations, metrics=metrics)
        self._open_questions = 0
        self._passing: dict[str, Held] = {}
        self._loading: dict[str, asyncio.Task[Held | None]] = {}

    def start(self) -> None:
        """Begin to work; call it inside the event loop."""
        self.batcher.start()
        self.writer.start()

    async def close(self) -> None:
        """Stop; states that wait are written first."""
        await self.batcher.close()
        await self._heads.close()
        await self.writer.close()
        self.model_thread.shutdown(wait=True, cancel_futures=True)
        self.explanations.close()
        self._store_threads.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        """Users in memory."""
        return len(self._held)

    async def ask(
        self, question: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Run something that waits for the database, or takes a while, in a thread.

        Raises:
            QueueFullError: As many questions are open as may be.
        """
        if self._open_questions >= self.settings.store_queue:
            raise QueueFullError(
                field="queue of the database", value=self._open_questions, remedy="Try again in a second."
            )
        self._open_questions += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._store_threads, lambda: question(*args, **kwargs))
        finally:
            self._open_questions -= 1

    async def record(self, user: str, told: Sequence[Event | Profile], *, key: str | None) -> Appended:
        """Write to a user's log and let the adaptation begin.

        Raises:
            BadInputError: The log would become too long.
            MismatchError: The idempotency key was used with something else.
            DatabaseAwayError: The database cannot be reached.
        """
        entries = [entry_of(one) for one in told]
        held = await self.held(user)
        longest = self.settings.limits.log_entries
        if held is not None and held.told.seq + len(entries) > longest:
            raise BadInputError(
                field="log of the user",
                value=held.told.seq,
                remedy=f"It may have {longest} entries; delete the user to begin anew.",
            )
        appended = await self.ask(self.store.append, user, entries, idempotency_key=key)
        if not appended.repeated:
            self.metrics.events.inc(len(entries))
        try:
            held = await self._with_news(user, held, entries, appended)
        except (QueueFullError, DatabaseAwayError):
            # The events are on the disk, so the request has done what it asks; memory reads them later.
            if user in self._held:
                self._let_go(user)
            return appended
        if held is not None and not held.is_fresh(self.model):
            with suppress(QueueFullError):
                self._adapting(held)
        return appended

    async def state(self, user: str, *, budget_s: float) -> Answer:
        """Return a state that knows the user's whole log, or the best at hand once the budget is spent.

        Raises:
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        begun_s = time.perf_counter()
        held = await self.held(user)
        model = self.model
        if held is None:
            return Answer(model=model, state=model.start, seq=0, last_seq=0)
        if held.is_fresh(model):
            return answer_of(held.adapted, held, self.models, asked_seq=held.told.seq)
        asked_seq = held.told.seq
        adapting = self._adapting(held)
        left_s = max(0.0, budget_s - (time.perf_counter() - begun_s))
        done, _ = await asyncio.wait({adapting}, timeout=left_s)
        self.metrics.wait.observe(time.perf_counter() - begun_s)
        if adapting.cancelled():  # deleted while waiting
            return Answer(model=model, state=model.start, seq=0, last_seq=0)
        if done:
            return answer_of(adapting.result(), held, self.models, asked_seq=asked_seq)
        self.metrics.stale.inc()
        return answer_of(held.adapted, held, self.models, asked_seq=asked_seq)

    def has_page(self, user: str, n: int, explain: bool) -> bool:  # noqa: FBT001 - as the request has it
        """Tell whether memory holds a ranking of a user that may still be true."""
        held = self._held.get(user)
        return held is not None and held.page(self.model, n, explain=explain) is not None

    async def page(self, user: str, n: int, explain: bool) -> bytes | None:  # noqa: FBT001
        """Return a ranking made before if it still is what the user would get, else None.

        Raises:
            DatabaseAwayError: Others write to the same store, and it cannot be reached.
        """
        held = self._held.get(user)
        if held is not None and self.settings.shared:
            held = await self._refreshed(held)
        page = None if held is None else held.page(self.model, n, explain=explain)
        if held is None or held.adapted is None or page is None:
            return None
        held.used_s = asyncio.get_running_loop().time()
        if user in self._held:
            self._held.move_to_end(user)
        self.metrics.answers.labels("warm" if held.adapted.state.events else "cold").inc()
        self.metrics.cached.inc()
        return page

    async def state_of(self, known: Known, *, budget_s: float) -> Answer:
        """Return the state of somebody of whom nothing is kept; when the budget is spent, of a stranger.

        Raises:
            QueueFullError: Too much work waits.
        """
        job = AdaptJob(model=self.model, told=Told(), known=known, left_out=0)
        future = self.batcher.submit(job)
        done, _ = await asyncio.wait({future}, timeout=budget_s)
        if done:
            found = future.result()
            return Answer(model=job.model, state=found.state, seq=0, last_seq=0, adapt_ms=found.adapt_ms)
        future.cancel()
        self.metrics.stale.inc()
        return Answer(model=job.model, state=job.model.start, seq=0, last_seq=0, stale=True)

    async def forget(self, user: str) -> Deleted:
        """Delete a user from log, states and this process's memory.

        Raises:
            DatabaseAwayError: The database cannot be reached; nothing is certain, delete again.
        """
        entries = await self.ask(self.store.entries, user)
        deleted = await self.ask(self.store.delete, user)
        self._loading.pop(user, None)
        for held in (self._held.pop(user, None), self._passing.pop(user, None)):
            if held is not None:
                held.gone = True
                held.pages.clear()
                if held.waiting is not None and held.waiting.future is not None:
                    held.waiting.future.cancel()
        self.writer.forget(user)
        # Behind what runs now, in the thread that reads texts: a text cannot come back.
        await self.in_model_thread(self._forget_texts, texts_in(entries))
        return deleted

    async def catch_up(self, user: str) -> None:
        """Bring a user's stored state up to date, outside the memory that requests share.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        held = self._held.get(user) or await self.ask(read_user, self.store, user, ())
        if held is None:
            return
        if held.adapted is not None and held.is_fresh(self.model):
            self.writer.put(user, held.adapted)
            return
        self._passing[user] = held
        try:
            await asyncio.wait({self._adapting(held)})
        except QueueFullError:
            pass
        finally:
            self._passing.pop(user, None)

    async def in_model_thread(
        self, call: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Run something in the model's thread, between batches."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.model_thread, lambda: call(*args, **kwargs))

    @property
    def models(self) -> tuple[Model, ...]:
        """The model in service, and the former one while states of it are in use."""
        return (self.model,) if self.former is None else (self.model, self.former)

    def use(self, model: Model) -> None:
        """Put another model in service; requests under way end with the one they began with."""
        if model.version != self.model.version:
            self.former = self.model
        self.model = model

    def drop_idle(self) -> None:
        """Let users leave memory who were not asked for lately."""
        now_s = asyncio.get_running_loop().time()
        for user, held in list(self._held.items()):
            if now_s - held.used_s > self.settings.held_idle_s:
                self._let_go(user)

    async def held(self, user: str) -> Held | None:
        """Return a user, from memory or else from the store; None for somebody unknown."""
        held = self._held.get(user)
        if held is not None and self.settings.shared:
            held = await self._refreshed(held)
        if held is None:
            held = await self._loaded(user)
        if held is not None:
            held.used_s = asyncio.get_running_loop().time()
            if user in self._held:
                self._held.move_to_end(user)
        return held

    async def _with_news(
        self, user: str, held: Held | None, entries: Sequence[Entry], appended: Appended
    ) -> Held | None:
        """Return a user in memory with what was just appended, read from the store where that is simpler."""
        held = held or await self.held(user)
        if held is not None and not appended.repeated and appended.first_seq == held.told.seq + 1:
            recorded, evidence = [], held.told.evidence_hash
            for seq, entry in enumerate(entries, start=appended.first_seq):
                evidence = evidence_after(evidence, entry)
                recorded.append(
                    Recorded(seq=seq, kind=entry.kind, body=entry.body, evidence_hash=evidence, time_s=0)
                )
            if evidence == appended.evidence_hash:
                held.advance(recorded)
        if held is not None and held.told.seq < appended.last_seq:
            held = await self._refreshed(held)
        return held

    async def _refreshed(self, held: Held) -> Held | None:
        """Bring a user in memory up to the log; one deleted or begun anew elsewhere is read again."""
        head = await self._heads.get(held.user)
        if head is not None:
            if (head.last_seq, head.evidence_hash) == (held.told.seq, held.told.evidence_hash):
                return held
            if held.advance(await self.ask(self.store.entries, held.user, after=held.told.seq)) and (
                held.told.seq >= head.last_seq
            ):
                return held
        if self._held.get(held.user) is held:
            self._let_go(held.user)
        return None if head is None else await self._loaded(held.user)

    async def _loaded(self, user: str) -> Held | None:
        """Read a user from the store; requests that come together share the reading."""
        task = self._loading.get(user)
        if task is None:
            task = asyncio.get_running_loop().create_task(self.ask(read_user, self.store, user, self.models))
            self._loading[user] = task
        try:
            held = await asyncio.shield(task)
        finally:
            current = self._loading.get(user) is task
            if current and task.done():
                del self._loading[user]
        if held is None or user in self._held:
            return self._held.get(user)
        if current:  # else the user was deleted meanwhile
            self._held[user] = held
            while len(self._held) > self.settings.held_users:
                self._let_go(next(iter(self._held)))
        return held

    def _let_go(self, user: str) -> None:
        self._held.pop(user).pages.clear()

    def _adapting(self, held: Held) -> asyncio.Future[Adapted]:
        """Return the adaptation to all that was told: the one that waits or runs already, or a new one."""
        model = self.model
        known, left_out = known_to(held.told, model.personaliser)
        for job in (held.waiting, held.running):
            if job is None or job.model is not model or job.future is None or job.future.done():
                continue
            if job is held.waiting:
                job.told, job.known, job.left_out = held.told, known, left_out
            if job.told.seq == held.told.seq:
                return job.future
        job = AdaptJob(model=model, told=held.told, known=known, left_out=left_out, held=held)
        job.future = self.batcher.submit(job)
        job.future.add_done_callback(lambda future: self._settled(held, job, future))
        held.waiting = job
        return job.future

    def _settled(self, held: Held, job: AdaptJob, future: asyncio.Future[Adapted]) -> None:
        held.waiting = None if held.waiting is job else held.waiting
        held.running = None if held.running is job else held.running
        if held.gone or future.cancelled() or future.exception() is not None:
            return
        found, mine = future.result(), held.adapted
        if mine is None or mine.version != found.version or found.seq > mine.seq:
            held.adapted = found
            held.pages.clear()
            if found.seq:
                self.writer.put(held.user, found)

    def _forget_texts(self, texts: set[str]) -> None:
        for model in self.models:
            for text in texts:
                model.texts.forget(text)


def _mark_begun(jobs: Sequence[AdaptJob]) -> None:
    for job in jobs:
        if job.held is not None and job.held.waiting is job:
            job.held.waiting, job.held.running = None, job
