"""Users in service: append to the log first, then adapt the state, then rank.

    record    append to the log (durable), then start the adaptation
    state     the state of the whole log, or an older one once the time budget is spent
    forget    delete from log, states and memory

All methods run in one event loop. The database answers in threads, and the model has one thread of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar

from warmprompt.adaptation.personaliser import Known
from warmprompt.backbone.threads import use_threads
from warmprompt.coalescing import Coalescer, QueueFullError
from warmprompt.errors import BadInputError, DatabaseAwayError
from warmprompt.lru import LruCache
from warmprompt.service.adaptation_batches import Answer, adapt_jobs, answer_of, each_alone_on_error
from warmprompt.service.bounded_threads import BoundedThreads
from warmprompt.service.cached_user import AdaptedState, AdaptJob, CachedUser, read_user, texts_in
from warmprompt.service.log_heads import log_heads
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.served_model import ServedModel
from warmprompt.service.settings import ServiceSettings
from warmprompt.service.user_history import Profile, UserHistory, entry_of, model_inputs
from warmprompt.service.writing import StateWriter
from warmprompt.store.contract import Appended, Deleted, Entry, Store, StoredEntry, evidence_after
from warmprompt.types import Event

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class Users:
    """The users in memory, loaded from the store and written back to it.

    Args:
        store: Log and states.
        model: In service at first.
        settings: How to behave.
        metrics: Counts what happens.
    """

    def __init__(
        self, store: Store, model: ServedModel, *, settings: ServiceSettings, metrics: Metrics
    ) -> None:
        self.store = store
        self.model = model
        self.former: ServedModel | None = None
        self.settings = settings
        self.metrics = metrics
        # By default a thread starts as many processor threads of its own as the machine has.
        own_threads = partial(use_threads, None)
        self.model_thread = ThreadPoolExecutor(1, thread_name_prefix="model", initializer=own_threads)
        self.explanations = BoundedThreads(
            1, limit=settings.explanations, name="explanations", initializer=own_threads
        )
        self._database = BoundedThreads(
            settings.store_threads, limit=settings.store_queue, name="the database"
        )
        self.adaptations: Coalescer[AdaptJob, AdaptedState] = Coalescer(
            self._adapt,
            name="queue of adaptations",
            largest=settings.batch.largest,
            limit=settings.batch.queue,
            window_s=settings.batch.window_s,
        )
        self.writer = StateWriter(lambda user, state: self.ask(store.put_state, user, state))
        self._cached: LruCache[str, CachedUser] = LruCache(settings.cached_users)
        self._log_heads = log_heads(lambda users: self.ask(store.heads, users), limit=settings.store_queue)
        self.unknown_pages: dict[tuple[object, ...], bytes] = {}
        self._passing: dict[str, CachedUser] = {}
        self._loading: dict[str, asyncio.Task[CachedUser | None]] = {}

    def start(self) -> None:
        """Start the background work; call it inside the event loop."""
        self.writer.start()

    async def close(self) -> None:
        """Stop; states that wait are written first."""
        await self.adaptations.close()
        await self._log_heads.close()
        await self.writer.close()
        self.model_thread.shutdown(wait=True, cancel_futures=True)
        self.explanations.close()
        self._database.close()

    def __len__(self) -> int:
        """Users in memory."""
        return len(self._cached)

    async def ask(
        self, question: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Run something that waits for the database, or takes a while, in a thread.

        Raises:
            QueueFullError: As many questions are open as may be.
        """
        return await self._database.run(question, *args, **kwargs)

    async def record(self, user: str, inputs: Sequence[Event | Profile], *, key: str | None) -> Appended:
        """Append to a user's log and start the adaptation.

        Raises:
            BadInputError: The log would become too long.
            MismatchError: The idempotency key was used with something else.
            DatabaseAwayError: The database cannot be reached.
        """
        entries = [entry_of(one) for one in inputs]
        cached = await self.get(user)
        longest = self.settings.limits.log_entries
        if cached is not None and cached.history.seq + len(entries) > longest:
            raise BadInputError(
                field="log of the user",
                value=cached.history.seq,
                remedy=f"It may have {longest} entries; delete the user to start again.",
            )
        appended = await self.ask(self.store.append, user, entries, idempotency_key=key)
        if not appended.repeated:
            self.metrics.events.inc(len(entries))
        try:
            cached = await self._with_entries(user, cached, entries, appended)
        except (QueueFullError, DatabaseAwayError):
            # The events are on the disk, so the request succeeded; memory reads them later.
            self._evict(user)
            return appended
        if cached is not None and not cached.is_fresh(self.model):
            with suppress(QueueFullError):
                self._adapting(cached)
        return appended

    async def state(self, user: str, *, budget_s: float) -> Answer:
        """Return the state of the user's whole log, or the last one there is once the budget is spent.

        Raises:
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        begun_s = time.perf_counter()
        cached = await self.get(user)
        model = self.model
        if cached is None:
            return Answer(model=model, state=model.start, seq=0, last_seq=0)
        if cached.is_fresh(model):
            return answer_of(cached.adapted, cached, self.models, asked_seq=cached.history.seq)
        asked_seq = cached.history.seq
        adapting = self._adapting(cached)
        left_s = max(0.0, budget_s - (time.perf_counter() - begun_s))
        done, _ = await asyncio.wait({adapting}, timeout=left_s)
        self.metrics.wait.observe(time.perf_counter() - begun_s)
        if adapting.cancelled():  # deleted while waiting
            return Answer(model=model, state=model.start, seq=0, last_seq=0)
        if done:
            return answer_of(adapting.result(), cached, self.models, asked_seq=asked_seq)
        self.metrics.stale.inc()
        return answer_of(cached.adapted, cached, self.models, asked_seq=asked_seq)

    def has_page(self, user: str, n: int, explain: bool) -> bool:  # noqa: FBT001 - as the request has it
        """Return whether a ranking of a user is cached that may still be valid."""
        cached = self._cached.peek(user)
        return cached is not None and cached.page(self.model, n, explain=explain) is not None

    async def page(self, user: str, n: int, explain: bool) -> bytes | None:  # noqa: FBT001
        """Return the cached ranking of a user if it is still valid, else None.

        Raises:
            DatabaseAwayError: Others write to the same store, and it cannot be reached.
        """
        cached = self._cached.peek(user)
        if cached is not None and self.settings.shared:
            cached = await self._refreshed(cached)
        page = None if cached is None else cached.page(self.model, n, explain=explain)
        if cached is None or cached.adapted is None or page is None:
            return None
        cached.used_s = asyncio.get_running_loop().time()
        self._cached.get(user)  # now the most recently used
        self.metrics.answers.labels("warm" if cached.adapted.state.events else "cold").inc()
        self.metrics.cached.inc()
        return page

    async def state_of(self, known: Known, *, budget_s: float) -> Answer:
        """Return a state from inputs that are not stored; of an unknown user once the budget is spent.

        Raises:
            QueueFullError: Too much work waits.
        """
        job = AdaptJob(model=self.model, history=UserHistory(), known=known, left_out=0)
        future = self.adaptations.submit(job)
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
            DatabaseAwayError: The database cannot be reached; the outcome is unknown, delete again.
        """
        entries = await self.ask(self.store.entries, user)
        deleted = await self.ask(self.store.delete, user)
        self._loading.pop(user, None)
        for cached in (self._cached.pop(user), self._passing.pop(user, None)):
            if cached is not None:
                cached.gone = True
                cached.pages.clear()
                if cached.waiting is not None and cached.waiting.future is not None:
                    cached.waiting.future.cancel()
        self.writer.forget(user)
        # After the batch that runs now, in the thread that reads texts: no text is cached again.
        await self.in_model_thread(self._forget_texts, texts_in(entries))
        return deleted

    async def update_state(self, user: str) -> None:
        """Bring a user's stored state up to date, outside the memory that requests share.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        cached = self._cached.peek(user) or await self.ask(read_user, self.store, user, ())
        if cached is None:
            return
        if cached.adapted is not None and cached.is_fresh(self.model):
            self.writer.put(user, cached.adapted)
            return
        self._passing[user] = cached
        try:
            await asyncio.wait({self._adapting(cached)})
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
    def models(self) -> tuple[ServedModel, ...]:
        """The model in service, and the former one while states of it are in use."""
        return (self.model,) if self.former is None else (self.model, self.former)

    def use(self, model: ServedModel) -> None:
        """Put another model in service; requests under way end with the one they began with."""
        if model.version != self.model.version:
            self.former = self.model
        self.model = model

    def drop_idle(self) -> None:
        """Remove users from memory who were not asked for lately."""
        now_s = asyncio.get_running_loop().time()
        for user, cached in self._cached.items():
            if now_s - cached.used_s > self.settings.cached_idle_s:
                self._evict(user)

    async def get(self, user: str) -> CachedUser | None:
        """Return a user from memory or else from the store; None for an unknown user."""
        cached = self._cached.peek(user)
        if cached is not None and self.settings.shared:
            cached = await self._refreshed(cached)
        if cached is None:
            cached = await self._loaded(user)
        if cached is not None:
            cached.used_s = asyncio.get_running_loop().time()
            self._cached.get(user)  # now the most recently used
        return cached

    async def _with_entries(
        self, user: str, cached: CachedUser | None, entries: Sequence[Entry], appended: Appended
    ) -> CachedUser | None:
        """Return a user in memory with the entries just appended, or read it again from the store."""
        cached = cached or await self.get(user)
        if cached is not None and not appended.repeated and appended.first_seq == cached.history.seq + 1:
            recorded, evidence = [], cached.history.evidence_hash
            for seq, entry in enumerate(entries, start=appended.first_seq):
                evidence = evidence_after(evidence, entry)
                recorded.append(
                    StoredEntry(seq=seq, kind=entry.kind, body=entry.body, evidence_hash=evidence, time_s=0)
                )
            if evidence == appended.evidence_hash:
                cached.apply(recorded)
        if cached is not None and cached.history.seq < appended.last_seq:
            cached = await self._refreshed(cached)
        return cached

    async def _refreshed(self, cached: CachedUser) -> CachedUser | None:
        """Bring a user in memory up to date; one deleted or recreated elsewhere is read again."""
        head = await self._log_heads.shared(cached.user)
        if head is not None:
            if (head.last_seq, head.evidence_hash) == (cached.history.seq, cached.history.evidence_hash):
                return cached
            if cached.apply(await self.ask(self.store.entries, cached.user, after=cached.history.seq)) and (
                cached.history.seq >= head.last_seq
            ):
                return cached
        if self._cached.peek(cached.user) is cached:
            self._evict(cached.user)
        return None if head is None else await self._loaded(cached.user)

    async def _loaded(self, user: str) -> CachedUser | None:
        """Read a user from the store; requests that come together share the reading."""
        task = self._loading.get(user)
        if task is None:
            task = asyncio.get_running_loop().create_task(self.ask(read_user, self.store, user, self.models))
            self._loading[user] = task
        try:
            cached = await asyncio.shield(task)
        finally:
            current = self._loading.get(user) is task
            if current and task.done():
                del self._loading[user]
        already = self._cached.peek(user)
        if cached is None or already is not None:
            return already
        if current:  # else the user was deleted meanwhile
            for evicted in self._cached.put(user, cached):
                evicted.pages.clear()
        return cached

    def _evict(self, user: str) -> None:
        evicted = self._cached.pop(user)
        if evicted is not None:
            evicted.pages.clear()

    async def _adapt(self, jobs: Sequence[AdaptJob]) -> Sequence[AdaptedState | Exception]:
        """Run a batch of adaptations; from here on newer evidence needs a job of its own."""
        for job in jobs:
            if job.cached is not None and job.cached.waiting is job:
                job.cached.waiting, job.cached.running = None, job
        adapt = partial(adapt_jobs, metrics=self.metrics)
        return await self.in_model_thread(each_alone_on_error, adapt, jobs)

    def _adapting(self, cached: CachedUser) -> asyncio.Future[AdaptedState]:
        """Return the adaptation to the whole history: the one that waits or runs already, or a new one."""
        model = self.model
        known, left_out = model_inputs(cached.history, model.personaliser)
        for job in (cached.waiting, cached.running):
            if job is None or job.model is not model or job.future is None or job.future.done():
                continue
            if job is cached.waiting:
                job.history, job.known, job.left_out = cached.history, known, left_out
            if job.history.seq == cached.history.seq:
                return job.future
        job = AdaptJob(model=model, history=cached.history, known=known, left_out=left_out, cached=cached)
        job.future = self.adaptations.submit(job)
        job.future.add_done_callback(lambda future: self._settled(cached, job, future))
        cached.waiting = job
        return job.future

    def _settled(self, cached: CachedUser, job: AdaptJob, future: asyncio.Future[AdaptedState]) -> None:
        cached.waiting = None if cached.waiting is job else cached.waiting
        cached.running = None if cached.running is job else cached.running
        if cached.gone or future.cancelled() or future.exception() is not None:
            return
        found, mine = future.result(), cached.adapted
        if mine is None or mine.version != found.version or found.seq > mine.seq:
            cached.adapted = found
            cached.pages.clear()
            if found.seq:
                self.writer.put(cached.user, found)

    def _forget_texts(self, texts: set[str]) -> None:
        for model in self.models:
            for text in texts:
                model.texts.forget(text)
                model.adapting_engine.models.forget(text)
