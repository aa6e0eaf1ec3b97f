"""Background writing of states; a lost state costs an adaptation, never an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import islice

from warmprompt.errors import WarmpromptError
from warmprompt.service.cached_user import AdaptedState, stored_form
from warmprompt.service.logs import note_error
from warmprompt.store.contract import StoredState

_PENDING = 4096
_AT_ONCE = 2
_RETRY_S = 1.0


class StateWriter:
    """Writes the newest state of each user, a few at once.

    Args:
        put: Stores a state of a user.
    """

    def __init__(self, put: Callable[[str, StoredState], Awaitable[object]]) -> None:
        self._put = put
        self._pending: dict[str, AdaptedState] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Users whose state waits."""
        return len(self._pending)

    def start(self) -> None:
        """Start writing; call it inside the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._work(), name="state writer")

    def put(self, user: str, adapted: AdaptedState) -> None:
        """Queue a state, in place of an older one of the same user that waits."""
        self._pending.pop(user, None)
        self._pending[user] = adapted
        if len(self._pending) > _PENDING:
            del self._pending[next(iter(self._pending))]
        self._arrived.set()

    def forget(self, user: str) -> None:
        """Drop a user's state from the queue."""
        self._pending.pop(user, None)

    async def drained(self, *, within_s: float = 5.0) -> None:
        """Wait until the queue is empty, at most `within_s`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._pending:
                    await asyncio.sleep(0.01)

    async def close(self, *, within_s: float = 5.0) -> None:
        """Write the states that wait, for at most `within_s`, and stop."""
        if self._task is None:
            return
        await self.drained(within_s=within_s)
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _work(self) -> None:
        while True:
            if not self._pending:
                self._arrived.clear()
                await self._arrived.wait()
            await asyncio.gather(*(self._write(user) for user in list(islice(self._pending, _AT_ONCE))))

    async def _write(self, user: str) -> None:
        adapted = self._pending[user]
        try:
            await self._put(user, stored_form(adapted))
        except WarmpromptError as error:
            note_error("a state could not be stored; trying again", error)
            await asyncio.sleep(_RETRY_S)
            return
        if self._pending.get(user) is adapted:
            del self._pending[user]
