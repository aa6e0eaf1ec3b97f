"""Entities as the service serves them: what their log tells, and the risk of what they do next.

    record    check, score and adapt, then append to the log (durable), then remember
    risk      what was thought of the last event
    score     what is thought of events that are not kept
    forget    out of log, states and memory

All methods run in one event loop; the database answers in threads, the profiler in one thread of its own, so
rankings never wait for it. What one entity is told is taken in one request after another.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

from warmprompt.backbone.load import Backbone
from warmprompt.errors import BadInputError, UserError, WarmpromptError
from warmprompt.risk.profile import Payment, Profiler, RiskEstimate, load_profiler
from warmprompt.service.batcher import QueueFullError
from warmprompt.service.lives import Life, Told, advanced, born, check_fits, entry_of, relived
from warmprompt.service.logs import note_error
from warmprompt.service.names import name_of_entity
from warmprompt.service.settings import ServiceSettings
from warmprompt.store.contract import Appended, Deleted, Entry, Recorded, Store, StoredState

Ask = Callable[..., Awaitable[Any]]
"""Runs a question to the database in a thread: the function, then its arguments."""

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, eq=False)
class RiskModel:
    """A profiler in service.

    Attributes:
        profiler: Loaded.
        version: SHA-256 of the files it was loaded from: weights, settings and calibration. States in the
            store carry it, since what they remember of p_risk depends on the calibration too.
    """

    profiler: Profiler
    version: str


def load_risk(folder: Path, *, backbone: Backbone | None = None) -> RiskModel:
    """Load a profiler that `save_profiler` wrote.

    Args:
        folder: Where it lies.
        backbone: The frozen model where it is in memory already.

    Raises:
        WarmpromptError: There is none, it is damaged, or it belongs to another backbone.
    """
    profiler = load_profiler(folder, backbone=backbone)
    digest = hashlib.sha256()
    for file in sorted(one for one in folder.iterdir() if one.is_file()):
        digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return RiskModel(profiler=profiler, version=digest.hexdigest())


@dataclass(frozen=True, kw_only=True, eq=False)
class Taken:
    """What became of a request that told something.

    Attributes:
        appended: Where it stands in the log.
        life: The entity afterwards.
        estimates: By place in the log, what was thought of each event before it was taken in.
    """

    appended: Appended
    life: Life
    estimates: dict[int, RiskEstimate]


class Entities:
    """The entities in memory, and the way there and back.

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
        model: RiskModel,
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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="risk")
        self._waiting = 0
        self._held: OrderedDict[str, Life] = OrderedDict()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def close(self) -> None:
        """Stop; what runs is ended first."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def __len__(self) -> int:
        """Entities in memory."""
        return len(self._held)

    async def record(self, entity: str, told: Sequence[Told], *, key: str | None) -> Taken:
        """Write payments and labels to an entity's log and take them in.

        Raises:
            BadInputError: Something told cannot be, or the log would become too long.
            UnknownNameError: A label of an event that is not among the last ones.
            MismatchError: Told out of order or twice; the idempotency key was used with something else.
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        name, entries = name_of_entity(entity), [entry_of(one) for one in told]
        async with self._lock(entity):
            before = await self._life(entity)
            try:
                self._check_now(told)
                self._check_length(before, entries)
                after, estimates = await self._think(
                    advanced, self.model.profiler, before, entries, strict=True
                )
            except UserError:
                if key is None or not await self._was_used(name, key):
                    raise
                return await self._as_logged(
                    entity, await self._ask(self._store.append, name, entries, idempotency_key=key)
                )
            # Whatever becomes of the append, what was in memory no longer counts.
            self._held.pop(entity, None)
            appended = await self._ask(self._store.append, name, entries, idempotency_key=key)
            if appended.repeated or appended.evidence_hash != after.evidence_hash:
                return await self._as_logged(entity, appended)
            self._hold(entity, after)
            await self._store_state(name, after)
            return Taken(appended=appended, life=after, estimates=estimates)

    async def risk(self, entity: str) -> Life | None:
        """Return an entity as its whole log tells it, None for one that nothing is held of.

        Raises:
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        async with self._lock(entity):
            life = await self._life(entity)
        return life if life.seq else None

    async def score(self, entity: str, payments: Sequence[Payment]) -> tuple[Life, list[RiskEstimate]]:
        """Return the entity and what is thought of each payment if it came next; nothing is kept.

        Raises:
            BadInputError: A payment that cannot be.
            MismatchError: One that is earlier than what was told, or has an id in use.
            QueueFullError: Too much work waits.
            DatabaseAwayError: The database cannot be reached.
        """
        self._check_now(payments)
        async with self._lock(entity):
            life = await self._life(entity)
        return life, await self._think(_scored, self.model.profiler, life, payments)

    async def forget(self, entity: str) -> Deleted:
        """Delete an entity from log, states and this process's memory.

        Raises:
            DatabaseAwayError: The database cannot be reached; nothing is certain, delete again.
        """
        async with self._lock(entity):
            self._held.pop(entity, None)
            deleted: Deleted = await self._ask(self._store.delete, name_of_entity(entity))
            return deleted

    async def _life(self, entity: str) -> Life:
        """Return an entity from memory or else from the store; ask with its lock held."""
        held = self._held.get(entity)
        if held is not None and self._settings.shared:
            head = await self._ask(self._store.head, name_of_entity(entity))
            if head is None or head.evidence_hash != held.evidence_hash:
                self._held.pop(entity, None)
                held = None
        if held is not None:
            self._held.move_to_end(entity)
            return held
        name, profiler = name_of_entity(entity), self.model.profiler
        entries = await self._ask(self._store.entries, name)
        if not entries:
            return born(profiler, entity)
        stored = await self._ask(self._store.get_state, name, self.model.version)
        kept = _revived(stored, entries, profiler)
        if kept is None:
            life = await self._think(relived, profiler, entity, entries)
        else:
            life, _ = await self._think(advanced, profiler, kept, entries[kept.seq :], strict=False)
        self._hold(entity, life)
        return life

    async def _as_logged(self, entity: str, appended: Appended) -> Taken:
        """Return what a request came to that was told before, or was written behind another's."""
        name, profiler = name_of_entity(entity), self.model.profiler
        entries = await self._ask(self._store.entries, name, limit=appended.last_seq)
        cut = appended.first_seq - 1
        before = await self._think(relived, profiler, entity, entries[:cut], scored=False)
        _, estimates = await self._think(advanced, profiler, before, entries[cut:], strict=False)
        return Taken(appended=appended, life=await self._life(entity), estimates=estimates)

    async def _was_used(self, name: str, key: str) -> bool:
        """Tell whether an idempotency key was used; reads the whole log, so ask only where it matters."""
        export = await self._ask(self._store.export, name)
        return export is not None and any(used == key for used, _, _ in export.idempotency_keys)

    async def _store_state(self, name: str, life: Life) -> None:
        """Store what was derived from the log; losing it costs the deriving, never an event."""
        state = StoredState(
            model_hash=self.model.version,
            seq=life.seq,
            evidence_hash=life.evidence_hash,
            data=life.to_bytes(),
        )
        try:
            await self._ask(self._store.put_state, name, state)
        except WarmpromptError as error:
            note_error("an entity's state could not be stored", error)

    async def _think(
        self, call: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Run something in the profiler's thread.

        Raises:
            QueueFullError: Too much waits for it.
        """
        if self._waiting >= self._settings.batch.queue:
            raise QueueFullError(
                field="queue of the profiler", value=self._waiting, remedy="Try again in a second."
            )
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))
        finally:
            self._waiting -= 1

    def _hold(self, entity: str, life: Life) -> None:
        self._held[entity] = life
        self._held.move_to_end(entity)
        while len(self._held) > self._settings.held_users:
            self._held.popitem(last=False)

    def _lock(self, entity: str) -> asyncio.Lock:
        lock = self._locks.get(entity)
        if lock is None:
            lock = self._locks[entity] = asyncio.Lock()
        return lock

    def _check_now(self, told: Sequence[Told]) -> None:
        """Refuse the future: one wrong date would shut the log to everything before it."""
        now_s = int(self._clock())
        for one in told:
            if one.time_s > now_s:
                raise BadInputError(
                    field=f"time_s of event {one.id}",
                    value=one.time_s,
                    remedy=f"It lies in the future; give at most {now_s}.",
                )

    def _check_length(self, life: Life, entries: Sequence[Entry]) -> None:
        longest = self._settings.limits.log_entries
        if life.seq + len(entries) > longest:
            raise BadInputError(
                field="log of the entity",
                value=life.seq,
                remedy=f"It may have {longest} entries; delete the entity to begin anew.",
            )


def _scored(profiler: Profiler, life: Life, payments: Sequence[Payment]) -> list[RiskEstimate]:
    for one in payments:
        check_fits(one, life.state.payments, last_s=life.last_s, label_delay_s=profiler.model.label_delay_s)
    return [profiler.score(life.state, one) for one in payments]


def _revived(stored: StoredState | None, entries: Sequence[Recorded], profiler: Profiler) -> Life | None:
    """Return the life that the store kept; None where it does not belong to this log or cannot be read."""
    if stored is None or stored.seq > len(entries):
        return None
    try:
        life = Life.from_bytes(stored.data)
    except (WarmpromptError, ValueError, TypeError, KeyError):  # it is derived anew
        return None
    fits = life.seq == stored.seq and life.evidence_hash == entries[stored.seq - 1].evidence_hash
    return life if fits and life.state.model_hash == profiler.model_hash else None
