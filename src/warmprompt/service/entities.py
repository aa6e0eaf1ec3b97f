"""Entities in service: their history, and the risk of their next payments.

    record    check, score and adapt, then append to the log (durable), then cache
    risk      the estimate of the last payment
    score     estimates of payments that are not stored
    forget    delete from log, states and memory

All methods run in one event loop. The database answers in threads, and the profiler has one thread of its
own, so rankings never wait for it. Requests of one entity are handled one after another.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError, UserError, WarmpromptError
from warmprompt.lru import LruCache
from warmprompt.risk.profile import Payment, Profiler, RiskEstimate, load_profiler
from warmprompt.service.bounded_threads import BoundedThreads
from warmprompt.service.entity_history import (
    EntityHistory,
    PaymentOrLabel,
    apply_entries,
    check_fits,
    empty_history,
    entry_of,
    replay,
)
from warmprompt.service.logs import note_error
from warmprompt.service.names import name_of_entity
from warmprompt.service.settings import ServiceSettings
from warmprompt.store.contract import Appended, Deleted, Entry, Store, StoredEntry, StoredState

Ask = Callable[..., Awaitable[Any]]
"""Runs a call to the database in a thread: the function, then its arguments."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedProfiler:
    """A profiler in service.

    Attributes:
        profiler: Loaded.
        version: SHA-256 of the files it was loaded from: weights, settings and calibration. States in the
            store carry it, since the p_risk values in them depend on the calibration too.
    """

    profiler: Profiler
    version: str


def load_risk(folder: Path, *, backbone: Backbone | None = None) -> ServedProfiler:
    """Load a profiler that `save_profiler` wrote.

    Args:
        folder: Of the profiler.
        backbone: The frozen model if it is in memory already.

    Raises:
        WarmpromptError: There is none, it is damaged, or it belongs to another backbone.
    """
    profiler = load_profiler(folder, backbone=backbone)
    digest = hashlib.sha256()
    for file in sorted(one for one in folder.iterdir() if one.is_file()):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return ServedProfiler(profiler=profiler, version=digest.hexdigest())


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordOutcome:
    """Result of recording payments and labels.

    Attributes:
        appended: Their place in the log.
        history: The entity afterwards.
        estimates: The estimate of each payment, made before it was observed, by `seq`.
    """

    appended: Appended
    history: EntityHistory
    estimates: dict[int, RiskEstimate]


class Entities:
    """The entities in memory, loaded from the store and written back to it.

    Args:
        store: Log and states, shared with users.
        model: In service.
        settings: How to behave.
        ask: Reaches the database.
        clock: Returns the present, seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        model: ServedProfiler,
        *,
        settings: ServiceSettings,
        ask: Ask,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.model = model
        self._store = store
        self._settings = settings
        self._ask = ask
        self._clock = clock
        self._profiling = BoundedThreads(1, limit=settings.batch.queue, name="the profiler")
        self._cached: LruCache[str, EntityHistory] = LruCache(settings.cached_users)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Stop, after the call that runs."""
        self._profiling.close()

    def __len__(self) -> int:
        """Entities in memory."""
        return len(self._cached)

    async def record(
        self, entity: str, records: Sequence[PaymentOrLabel], *, key: str | None
    ) -> RecordOutcome:
        """Append payments and labels to an entity's log and apply them.

        Raises:
            BadInputError: An invalid record, or the log would become too long.
            UnknownNameError: A label of an event that is not among the last ones.
            MismatchError: A record out of order or a second time; the idempotency key was used with others.
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        name, entries = name_of_entity(entity), [entry_of(one) for one in records]
        async with self._lock(entity):
            before = await self._history(entity)
            try:
                self._check_now(records)
                self._check_length(before, entries)
                after, estimates = await self._profiling.run(
                    apply_entries, self.model.profiler, before, entries, strict=True
                )
            except UserError:
                if key is None or not await self._was_used(name, key):
                    raise
                return await self._as_logged(
                    entity, await self._ask(self._store.append, name, entries, idempotency_key=key)
                )
            # Whether the append succeeds or not, the cached history is outdated.
            self._cached.pop(entity)
            appended = await self._ask(self._store.append, name, entries, idempotency_key=key)
            if appended.repeated or appended.evidence_hash != after.evidence_hash:
                return await self._as_logged(entity, appended)
            self._cached.put(entity, after)
            await self._store_state(name, after)
            return RecordOutcome(appended=appended, history=after, estimates=estimates)

    async def risk(self, entity: str) -> EntityHistory | None:
        """Return an entity after its whole log, None for an unknown one.

        Raises:
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        async with self._lock(entity):
            history = await self._history(entity)
        return history if history.seq else None

    async def score(
        self, entity: str, payments: Sequence[Payment]
    ) -> tuple[EntityHistory, list[RiskEstimate]]:
        """Return the entity and an estimate of each payment as if it came next; nothing is stored.

        Raises:
            BadInputError: An invalid payment.
            MismatchError: One that is earlier than the history, or whose id is in use.
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        self._check_now(payments)
        async with self._lock(entity):
            history = await self._history(entity)
        return history, await self._profiling.run(_scored, self.model.profiler, history, payments)

    async def forget(self, entity: str) -> Deleted:
        """Delete an entity from log, states and this process's memory.

        Raises:
            DatabaseAwayError: The database cannot be reached; the outcome is unknown, delete again.
        """
        async with self._lock(entity):
            self._cached.pop(entity)
            deleted: Deleted = await self._ask(self._store.delete, name_of_entity(entity))
            return deleted

    async def _history(self, entity: str) -> EntityHistory:
        """Return an entity from memory or else from the store; the caller holds its lock."""
        cached = self._cached.peek(entity)
        if cached is not None and self._settings.shared:
            head = await self._ask(self._store.head, name_of_entity(entity))
            if head is None or head.evidence_hash != cached.evidence_hash:
                self._cached.pop(entity)
                cached = None
        if cached is not None:
            self._cached.get(entity)  # now the most recently used
            return cached
        name, profiler = name_of_entity(entity), self.model.profiler
        entries = await self._ask(self._store.entries, name)
        if not entries:
            return empty_history(profiler, entity)
        stored = await self._ask(self._store.get_state, name, self.model.version)
        kept = _restored(stored, entries, profiler)
        if kept is None:
            history = await self._profiling.run(replay, profiler, entity, entries)
        else:
            history, _ = await self._profiling.run(
                apply_entries, profiler, kept, entries[kept.seq :], strict=False
            )
        self._cached.put(entity, history)
        return history

    async def _as_logged(self, entity: str, appended: Appended) -> RecordOutcome:
        """Return the outcome, from the log, of a repeated request or of one written after another's."""
        name, profiler = name_of_entity(entity), self.model.profiler
        entries = await self._ask(self._store.entries, name, limit=appended.last_seq)
        cut = appended.first_seq - 1
        before = await self._profiling.run(replay, profiler, entity, entries[:cut], scored=False)
        _, estimates = await self._profiling.run(apply_entries, profiler, before, entries[cut:], strict=False)
        return RecordOutcome(appended=appended, history=await self._history(entity), estimates=estimates)

    async def _was_used(self, name: str, key: str) -> bool:
        """Return whether an idempotency key was used; reads the whole log, so call it only when needed."""
        export = await self._ask(self._store.export, name)
        return export is not None and any(used == key for used, _, _ in export.idempotency_keys)

    async def _store_state(self, name: str, history: EntityHistory) -> None:
        """Store the derived state; if that fails it is recomputed later, and no event is lost."""
        state = StoredState(
            model_hash=self.model.version,
            seq=history.seq,
            evidence_hash=history.evidence_hash,
            data=history.to_bytes(),
        )
        try:
            await self._ask(self._store.put_state, name, state)
        except WarmpromptError as error:
            note_error("an entity's state could not be stored", error)

    def _lock(self, entity: str) -> asyncio.Lock:
        lock = self._locks.get(entity)
        if lock is None:
            lock = self._locks[entity] = asyncio.Lock()
        return lock

    def _check_now(self, records: Sequence[PaymentOrLabel]) -> None:
        """Refuse future times: one wrong date would close the log to everything before it."""
        now_s = int(self._clock())
        for one in records:
            if one.time_s > now_s:
                raise BadInputError(
                    field=f"time_s of event {one.id}",
                    value=one.time_s,
                    remedy=f"It is in the future; give at most {now_s}.",
                )

    def _check_length(self, history: EntityHistory, entries: Sequence[Entry]) -> None:
        longest = self._settings.limits.log_entries
        if history.seq + len(entries) > longest:
            raise BadInputError(
                field="log of the entity",
                value=history.seq,
                remedy=f"It may have {longest} entries; delete the entity to start again.",
            )


def _scored(profiler: Profiler, history: EntityHistory, payments: Sequence[Payment]) -> list[RiskEstimate]:
    for one in payments:
        check_fits(
            one, history.state.payments, last_s=history.last_s, label_delay_s=profiler.model.label_delay_s
        )
    return [profiler.score(history.state, one) for one in payments]


def _restored(
    stored: StoredState | None, entries: Sequence[StoredEntry], profiler: Profiler
) -> EntityHistory | None:
    """Return the stored history; None if it belongs to another log or cannot be read."""
    if stored is None or stored.seq > len(entries):
        return None
    try:
        history = EntityHistory.from_bytes(stored.data)
    except (WarmpromptError, ValueError, TypeError, KeyError):  # it is recomputed
        return None
    fits = history.seq == stored.seq and history.evidence_hash == entries[stored.seq - 1].evidence_hash
    return history if fits and history.state.model_hash == profiler.model_hash else None
