"""Users in service: append to the log first, then adapt the state, then rank.

    record    append to the log (durable), and have new texts read
    state     the state of the whole log, adapted in the linear response within the request
    forget    delete from log, states and memory

All methods run in one event loop. The database answers in threads, and texts are read in a thread of their
own. Whoever brings no new text waits for no model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import ParamSpec, TypeVar

from warmprompt.adaptation.personaliser import Known
from warmprompt.backbone.threads import use_threads
from warmprompt.coalescing import QueueFullError
from warmprompt.errors import DatabaseAwayError, WarmpromptError
from warmprompt.lru import LruCache
from warmprompt.service.adapting import Adaptations
from warmprompt.service.answers import Answer, answer_of, unknown_user
from warmprompt.service.bounded_threads import BoundedThreads
from warmprompt.service.cached_user import AdaptedState, CachedUser, read_user, texts_in
from warmprompt.service.log_heads import log_heads
from warmprompt.service.logs import note_error
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.served_model import ServedModel
from warmprompt.service.settings import ServiceSettings
from warmprompt.service.text_worker import TextWorker
from warmprompt.service.user_history import Profile, UserHistory, entry_of, model_inputs
from warmprompt.service.writing import StateWriter
from warmprompt.store.contract import Appended, Deleted, Entry, Store, StoredEntry
from warmprompt.store.evidence import evidence_after
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
        self.settings = settings
        self.metrics = metrics
        # By default a thread starts as many processor threads of its own as the machine has.
        own_threads = partial(use_threads, None)
        self.texts = TextWorker(settings.batch, metrics, initializer=own_threads)
        self.adaptations = Adaptations(self.texts, metrics, self.ask)
        self.explanations = BoundedThreads(
            1, limit=settings.explanations, name="explanations", initializer=own_threads
        )
        self._database = BoundedThreads(
            settings.store_threads, limit=settings.store_queue, name="the database"
        )
        self.writer = StateWriter(lambda states: self.ask(store.put_states, states))
        self._cached: LruCache[str, CachedUser] = LruCache(settings.cached_users)
        self._log_heads = log_heads(lambda users: self.ask(store.heads, users), limit=settings.store_queue)
        self.unknown_pages: dict[tuple[object, ...], bytes] = {}
        self._passing: dict[str, CachedUser] = {}
        self._loading: dict[str, asyncio.Task[CachedUser | None]] = {}
        self._updating: set[asyncio.Task[None]] = set()
        self._num_deleted = 0

    def start(self) -> None:
        """Start the background work; call it inside the event loop."""
        self.writer.start()

    async def close(self) -> None:
        """Stop; states that wait are written first."""
        for task in self._updating:
            task.cancel()
        await self._log_heads.close()
        await self.writer.close()
        await self.texts.close()
        self.explanations.close()
        self._database.close()

    def __len__(self) -> int:
        """Users in memory."""
        return len(self._cached)

    @property
    def is_idle(self) -> bool:
        """Whether no state is being brought up to date, and none waits to be stored."""
        return not self._updating and not len(self.writer)

    async def ask(
        self, question: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Run something that waits for the database, or takes a while, in a thread.

        Raises:
            QueueFullError: As many questions are open as may be.
        """
        return await self._database.run(question, *args, **kwargs)

    async def record(self, user: str, inputs: Sequence[Event | Profile], *, key: str | None) -> Appended:
        """Append to a user's log, and have new texts read.

        Raises:
            BadInputError: The log would become too long.
            MismatchError: The idempotency key was used with something else.
            DatabaseAwayError: The database cannot be reached.
        """
        entries = [entry_of(one) for one in inputs]
        cached, num_deleted = self._cached.get(user), self._num_deleted
        longest = self.settings.limits.log_entries
        appended = await self.ask(self.store.append, user, entries, idempotency_key=key, longest=longest)
        if not appended.repeated:
            self.metrics.events.inc(len(entries))
        is_new = cached is None and appended.first_seq == 1 and num_deleted == self._num_deleted
        if is_new and self._cached.peek(user) is None:
            cached = self._keep(CachedUser(user=user, history=UserHistory()))
        try:
            cached = await self._with_entries(user, cached, entries, appended)
        except (QueueFullError, DatabaseAwayError):
            # The events are on the disk, so the request succeeded; memory reads them later.
            self._evict(user)
            return appended
        if cached is None:
            return appended
        cached.used_s = asyncio.get_running_loop().time()
        if not cached.is_fresh(self.model):
            # The answer waits for no text, but the ranking that is asked for next finds it read.
            task = asyncio.get_running_loop().create_task(self._bring_up_to_date(cached))
            self._updating.add(task)
            task.add_done_callback(self._updating.discard)
        return appended

    async def state(self, user: str, *, budget_s: float) -> Answer:
        """Return the state of the user's whole log.

        Args:
            user: The user's id.
            budget_s: How long to wait for texts to be read; where nothing else is known of the user, as long
                as the settings say at least.

        Raises:
            QueueFullError: The text was not read, and nothing else is known of the user.
            DatabaseAwayError: The database cannot be reached.
        """
        cached = await self.get(user)
        if cached is None:
            return unknown_user(self.model)
        model, history, mine = self.model, cached.history, cached.adapted
        if mine is not None and cached.is_fresh(model) and not model.texts.reads_events:
            return answer_of(model, mine, cached)
        known, left_out = model_inputs(history, model.personaliser)
        former = Known() if mine is None else Known(about=mine.state.about, attributes=mine.state.attributes)
        patience_s = self._patience_s(known, former, budget_s)
        readings, all_read = await self.adaptations.read(model, known, budget_s=patience_s)
        if cached.gone:  # deleted while waiting
            return unknown_user(model)
        mine = cached.adapted
        if not all_read:
            return Answer(
                model=model,
                state=await self.adaptations.without_unread(model, known, readings, former=former),
                seq=0 if mine is None else mine.seq,
                last_seq=cached.history.seq,
                left_out=left_out,
                cached=cached,
                stale=True,
                readings=readings,
            )
        if mine is None or mine.version != model.version or mine.seq < history.seq:
            mine = await self.adaptations.adapt(model, history, known, readings, left_out=left_out)
            self._adopt(cached, mine)
        return answer_of(model, mine, cached, readings)

    def _patience_s(self, known: Known, former: Known, budget_s: float) -> float:
        """Return how long to wait for a user's texts: a ranking without them must be the user's own too."""
        return budget_s if known.events or former.text else max(budget_s, self.settings.budget_s)

    def num_texts(self, events: Sequence[Event], profile: Profile | None) -> int:
        """Return how many texts of a request a model would have to read."""
        known = Known(events=events) if self.model.texts.reads_events else Known()
        return len(self.model.texts.texts_of(known)) + (profile is not None)

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
        """Return a state from inputs that are not stored; arguments and errors as `state`."""
        model = self.model
        patience_s = self._patience_s(known, Known(), budget_s)
        readings, all_read = await self.adaptations.read(model, known, budget_s=patience_s)
        if all_read:
            adapted = await self.adaptations.adapt(model, UserHistory(), known, readings, left_out=0)
            return answer_of(model, adapted, None, readings)
        state = await self.adaptations.without_unread(model, known, readings, former=Known())
        return Answer(model=model, state=state, seq=0, last_seq=0, stale=True, readings=readings)

    async def forget(self, user: str) -> Deleted:
        """Delete a user from log, states and this process's memory.

        Raises:
            DatabaseAwayError: The database cannot be reached; the outcome is unknown, delete again.
        """
        entries = await self.ask(self.store.entries, user)
        deleted = await self.ask(self.store.delete, user)
        self._num_deleted += 1
        self._loading.pop(user, None)
        for cached in (self._cached.pop(user), self._passing.pop(user, None)):
            if cached is not None:
                cached.gone = True
                cached.pages.clear()
        self.writer.forget(user)
        self.forget_texts(texts_in(entries))
        return deleted

    def forget_texts(self, texts: Iterable[str]) -> None:
        """Drop what is kept of texts, wherever a model may have read them; waits for no model."""
        self.texts.forget(texts)
        for text in texts:
            self.model.adapting_engine.models.forget(text)

    async def update_state(self, user: str) -> None:
        """Bring a user's stored state up to date, outside the memory that requests share.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        cached = self._cached.peek(user) or await self.ask(read_user, self.store, user)
        if cached is None:
            return
        if cached.adapted is not None and cached.is_fresh(self.model):
            self.writer.put(user, cached.adapted)
            return
        self._passing[user] = cached
        try:
            await self._bring_up_to_date(cached)
        finally:
            self._passing.pop(user, None)

    def use(self, model: ServedModel) -> None:
        """Put another model in service; requests under way end with the one they began with."""
        self.texts.keep_only(model.texts)
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
            task = asyncio.get_running_loop().create_task(self.ask(read_user, self.store, user, self.model))
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
        return self._keep(cached) if current else cached  # else the user was deleted meanwhile

    def _keep(self, cached: CachedUser) -> CachedUser:
        for evicted in self._cached.put(cached.user, cached):
            evicted.pages.clear()
        return cached

    def _evict(self, user: str) -> None:
        evicted = self._cached.pop(user)
        if evicted is not None:
            evicted.pages.clear()

    def _adopt(self, cached: CachedUser, adapted: AdaptedState) -> None:
        """Make a state the user's, and have it stored, unless the user is gone or has a newer one."""
        mine = cached.adapted
        if cached.gone or not (mine is None or mine.version != adapted.version or mine.seq < adapted.seq):
            return
        cached.adapted = adapted
        cached.pages.clear()
        self.writer.put(cached.user, adapted)

    async def _bring_up_to_date(self, cached: CachedUser) -> None:
        """Adapt to a user's whole log as soon as its texts are read, and have the state stored."""
        model, history = self.model, cached.history
        known, left_out = model_inputs(history, model.personaliser)
        try:
            readings, all_read = await self.adaptations.read(model, known, budget_s=None)
            if all_read and not cached.is_fresh(model):
                self._adopt(
                    cached, await self.adaptations.adapt(model, history, known, readings, left_out=left_out)
                )
        except WarmpromptError as error:
            note_error("a state could not be brought up to date", error)
