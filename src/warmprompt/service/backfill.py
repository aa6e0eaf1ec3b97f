"""Backfill of states that are behind their log, while no request waits.

After a model change every state is behind; after a crash, those that were not written yet. A requested user
is adapted at once. The backfill adapts the others, a few at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from warmprompt.errors import WarmpromptError
from warmprompt.service.logs import log_line, note_error
from warmprompt.service.names import is_entity
from warmprompt.service.users import Users

_AGAIN_S = 300.0
_RETRY_S = 5.0
_POLITE_S = 0.02
_PAGE = 200
_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class BackfillStatus:
    """How many states of the model in service are up to date, as last counted.

    Attributes:
        version: Of the model.
        users: Users in the store.
        current: Users whose state was made from their whole log.
        running: Whether states are being updated, or those of former models deleted.
    """

    version: str
    users: int
    current: int
    running: bool


class StateBackfill:
    """Updates the states that are behind; start `run` as a task.

    Args:
        users: The users in service.
        keep: Versions of other models whose states are kept, such as those of entities.
    """

    def __init__(self, users: Users, *, keep: Sequence[str] = ()) -> None:
        self._users = users
        self._keep = tuple(keep)
        self._entities = 0
        self._woken = asyncio.Event()
        self.status: BackfillStatus | None = None

    def wake(self) -> None:
        """Start the next round now, because another model is in service."""
        self.status = None
        self._woken.set()

    async def run(self) -> None:
        """Run round after round, until cancelled."""
        while True:
            self._woken.clear()
            pause_s = _AGAIN_S
            try:
                await self._round()
            except WarmpromptError as error:
                note_error("the backfill stopped and will retry", error)
                pause_s = _RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _round(self) -> None:
        users, version = self._users, self._users.model.version
        await self._count(version, running=True)
        after: int | None = 0
        done, counted, entities = 0, self.status, 0
        while after is not None and version == users.model.version:
            page = await users.ask(users.store.behind, version, after=after, limit=_PAGE)
            behind = [head for head in page.users if not is_entity(head.user)]
            entities += len(page.users) - len(behind)
            for start in range(0, len(behind), _AT_ONCE):
                while not users.texts.idle:
                    await asyncio.sleep(_POLITE_S)
                heads = behind[start : start + _AT_ONCE]
                await asyncio.gather(*(users.update_state(head.user) for head in heads))
                done += len(heads)
            if counted is not None:
                self._show(replace(counted, current=min(counted.users, counted.current + done)))
            after = page.next
        if version != users.model.version:
            return
        self._entities = entities
        await users.writer.drained()
        if not users.settings.shared:  # another process may still serve the former model
            while await users.ask(users.store.drop_states, keep=[version, *self._keep]):
                await asyncio.sleep(_POLITE_S)
        # Last of all, so that `running=False` is true of the deleted states too.
        await self._count(version, running=False)
        if done:
            log_line("states are up to date", users=done)

    async def _count(self, version: str, *, running: bool) -> None:
        progress = await self._users.ask(self._users.store.progress, version)
        num_users = max(progress.users - self._entities, progress.current)
        self._show(
            BackfillStatus(version=version, users=num_users, current=progress.current, running=running)
        )

    def _show(self, status: BackfillStatus) -> None:
        if status.version != self._users.model.version:
            return  # the last count of a former model's round
        self.status = status
        self._users.metrics.users.set(status.users)
        self._users.metrics.current.set(status.current)
