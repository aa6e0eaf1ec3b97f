"""The running service: users, model, keys and periodic tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.backbone.threads import use_threads
from warmprompt.errors import DatabaseAwayError, MismatchError, UserError, WarmpromptError
from warmprompt.service.auth import Authenticator
from warmprompt.service.backfill import StateBackfill
from warmprompt.service.bounded_threads import BoundedThreads
from warmprompt.service.items import id_of, item_of, key_of, stored_item
from warmprompt.service.keys import KeyRing, any_key
from warmprompt.service.limits import RateLimit
from warmprompt.service.logs import log_line, note_error
from warmprompt.service.memory import return_memory
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.catalogue import NewItem
from warmprompt.service.model.served_model import (
    ExplainerFactory,
    ServedModel,
    check_attributes,
    check_capacity,
    extended,
    make_model,
    with_hidden,
)
from warmprompt.service.settings import ServiceSettings
from warmprompt.service.users import Users
from warmprompt.store.contract import Store
from warmprompt.types import ItemId

if TYPE_CHECKING:
    from warmprompt.service.entities import Entities, ServedProfiler

_PERIOD_S = 2.0


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where the model is loaded from.

    Attributes:
        name: Shown in metrics; the run's folder name.
        open: Loads the run in its present form.
        stamp: Its value changes with the run; None if the run is not watched.
        make_explainer: Makes the explainer of rankings, or None.
    """

    name: str
    open: Callable[[], Personaliser]
    stamp: Callable[[], object] | None = None
    make_explainer: ExplainerFactory | None = None


def load_model(source: ModelSource, store: Store, settings: ServiceSettings) -> ServedModel:
    """Load the run and put it into service, with the items in the store.

    Raises:
        WarmpromptError: There is no run, it is damaged, or it belongs to another backbone.
    """
    model = make_model(
        source.open(),
        room=settings.room,
        largest_batch=settings.batch.largest,
        make_explainer=source.make_explainer,
    )
    model.texts.warm_up()
    return _synced_model(model, store)


class Service:
    """All state between requests; created before the event loop runs, started inside it.

    Args:
        store: Log, states, items, keys.
        source: Where models come from.
        model: The first one, from `load_model`.
        settings: How to behave.
        keys_needed: Whether requests need a key even if none exists; true beyond loopback.
        risk: The profiler of entities, or None where none are served.
    """

    def __init__(
        self,
        store: Store,
        source: ModelSource,
        model: ServedModel,
        *,
        settings: ServiceSettings,
        keys_needed: bool,
        risk: ServedProfiler | None = None,
    ) -> None:
        self.store = store
        self.settings = settings
        self.metrics = Metrics()
        self.users = Users(store, model, settings=settings, metrics=self.metrics)
        self.sentences = BoundedThreads(
            1, limit=settings.explanations, name="sentences", initializer=partial(use_threads, None)
        )
        self.entities = None if risk is None else _entities(self, risk)
        self.backfill = StateBackfill(self.users, keep=[] if risk is None else [risk.version])
        ring = KeyRing(store)
        self.auth = Authenticator(
            ring=ring,
            rate=RateLimit(per_s=settings.limits.per_s, burst=settings.limits.burst),
            is_open=not keys_needed and not any_key(store),
            find=lambda key: self.users.ask(ring.find, key),
        )
        # One thread: the allocator has an arena per thread, each of which would keep a former model's memory.
        self._loading = BoundedThreads(1, limit=2, name="reloads")
        self._source = source
        self._keys_needed = keys_needed
        self._stamp = source.stamp and source.stamp()
        self._changing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._unscrubbed = False
        self._show_model()

    def start(self) -> None:
        """Start the background work; call it inside the event loop."""
        self.users.start()
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run_periodic_tasks(), name="periodic tasks")]
        if self.settings.backfill:
            self._tasks.append(loop.create_task(self.backfill.run(), name="backfill"))

    async def close(self) -> None:
        """Stop, after the work under way."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self.users.close()
        self.sentences.close()
        self._loading.close()
        if self.entities is not None:
            self.entities.close()

    async def reload(self) -> ServedModel:
        """Reload the run and put it in service; requests under way finish with the former model.

        Raises:
            WarmpromptError: The run cannot be used; the former model stays in service.
        """
        async with self._changing:
            begun_s = time.perf_counter()
            try:
                model = await self._loading.run(load_model, self._source, self.store, self.settings)
            except WarmpromptError:
                self.metrics.reloads.labels("failed").inc()
                raise
            self.users.use(model)
            await self._loading.run(return_memory)
            self.metrics.reloads.labels("done").inc()
            self._show_model()
            log_line("model loaded", version=model.version[:12], s=round(time.perf_counter() - begun_s, 1))
            self.backfill.wake()
            return model

    async def add_items(self, items: Sequence[NewItem]) -> ServedModel:
        """Add items for good; an equal item that exists already is left as it is.

        Raises:
            BadInputError: No spare capacity, or an id of the wrong kind.
            MismatchError: An id is in use, or the run was trained without item texts.
        """
        async with self._changing:
            model = await self._synced()
            fresh = [item for item in items if item.id not in model.personaliser.index]
            known = await self.users.ask(self.store.items) if len(fresh) < len(items) else None
            added = {} if known is None else {item_of(one).id: item_of(one) for one in known.items}
            for item in items:
                if item not in fresh and added.get(item.id) != item:
                    raise MismatchError(
                        field="id of item", value=item.id, remedy="It is in use; choose another id."
                    )
            if not fresh:
                return model
            check_capacity(model, fresh)
            check_attributes(model, fresh)
            await self.users.ask(model.reader.read, fresh[:1])  # a run that reads no texts must not store any
            await self.users.ask(self.store.put_items, [stored_item(item) for item in fresh])
            return await self._synced()

    async def hide_items(self, items: Sequence[ItemId], *, hidden: bool) -> ServedModel:
        """Hide items from every ranking, or show them again; survives restarts and new runs.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        async with self._changing:
            await self.users.ask(self.store.hide_items, [key_of(item) for item in items], hidden=hidden)
            return await self._synced()

    async def sync_items(self) -> ServedModel:
        """Apply other processes' changes to the items: added, hidden, shown again."""
        async with self._changing:
            return await self._synced()

    def scrub_later(self) -> None:
        """Remove deleted bytes from the database's files as soon as no reader needs them.

        A file over the size limit waits for `scrub`.
        """
        self._unscrubbed = True

    async def scrub(self) -> bool:
        """Remove deleted bytes from the database's files, however long that takes; writers wait meanwhile.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        self._unscrubbed = not await self.users.ask(self.store.scrub)
        return not self._unscrubbed

    def refresh_gauges(self) -> None:
        """Bring the gauges up to date."""
        self.metrics.queue.set(len(self.users.texts))
        self.metrics.cached_users.set(len(self.users))
        self.metrics.unsaved.set(len(self.users.writer))
        self.metrics.unscrubbed.set(self._unscrubbed)

    async def _synced(self) -> ServedModel:
        model = await self.users.ask(_synced_model, self.users.model, self.store)
        if model is not self.users.model:
            self.users.use(model)
            self._show_model()
        return model

    async def _run_periodic_tasks(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_S)
            try:
                await self._run_periodic_tasks_once()
                self.metrics.database.set(1)
            except DatabaseAwayError as error:
                self.metrics.database.set(0)
                note_error("the database is away", error)
            except WarmpromptError as error:
                note_error("a periodic task failed", error)

    async def _run_periodic_tasks_once(self) -> None:
        self.users.drop_idle()
        if not self._keys_needed:
            self.auth.is_open = not await self.users.ask(any_key, self.store)
        await self.sync_items()  # the command line may write to the SQLite file too
        if self._unscrubbed:
            longest = self.settings.scrub_up_to_bytes
            self._unscrubbed = not await self.users.ask(self.store.scrub, up_to_bytes=longest)
        if self._source.stamp is not None:
            await self._reload_if_changed(self._source.stamp())

    async def _reload_if_changed(self, stamp: object) -> None:
        if stamp is None or stamp == self._stamp:
            return
        self._stamp = stamp
        await self.reload()

    def _show_model(self) -> None:
        model = self.users.model
        self.metrics.model.clear()
        self.metrics.model.labels(model.version[:16], self._source.name).set(1)
        self.metrics.items.labels("trained").set(model.num_trained)
        self.metrics.items.labels("added").set(model.num_items - model.num_trained)


def _entities(service: Service, risk: ServedProfiler) -> Entities:
    # The profiler's packages are an extra.
    from warmprompt.service.entities import Entities

    return Entities(service.store, risk, settings=service.settings, ask=service.users.ask)


def _synced_model(model: ServedModel, store: Store) -> ServedModel:
    """Return the model with the store's changes to items: added, hidden, shown again.

    Raises:
        UserError: The items do not fit the model.
    """
    changes = store.items(since=model.items_version)
    if changes.version == model.items_version:
        return model
    try:
        model = extended(model, [item_of(row) for row in changes.items], items_version=changes.version)
        hidden, shown = ([id_of(key) for key in keys] for keys in (changes.hidden, changes.shown))
        return with_hidden(model, hidden=hidden, shown=shown)
    except UserError as error:
        raise type(error)(
            field=f"items added to the store: {error.field}", value=error.value, remedy=error.remedy
        ) from None
