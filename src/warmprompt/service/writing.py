"""Background writing of states; a lost state costs an adaptation, never an event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from warmprompt.errors import WarmpromptError
from warmprompt.service.cached_user import AdaptedState, stored_form
from warmprompt.service.logs import note_error
from warmprompt.store.contract import StoredState

_PENDING = 4096
# States that come within this time share a transaction, and a user's later state replaces the earlier one.
_GATHER_S = 0.5
_LARGEST = 64
_RETRY_S = 1.0


class StateWriter:
    """Writes the newest state of each user, many in one transaction.

    Args:
        put: Stores states by user.
    """

    def __init__(self, put: Callable[[Mapping[str, StoredState]], Awaitable[object]]) -> None:
        self._put = put
        self._pending: dict[str, AdaptedState] = {}
        self._arrived = asyncio.Event()
        self._hurried = asyncio.Event()
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
        """Write what waits without gathering more, and wait for it, at most `within_s`."""
        self._hurried.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._pending:
                    await asyncio.sleep(0.01)
        self._hurried.clear()

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
            with suppress(TimeoutError):
                async with asyncio.timeout(_GATHER_S):
                    await self._hurried.wait()
            waiting = list(self._pending.items())
            for start in range(0, len(waiting), _LARGEST):
                await self._write(dict(waiting[start : start + _LARGEST]))

    async def _write(self, states: Mapping[str, AdaptedState]) -> None:
        try:
            await self._put({user: stored_form(adapted) for user, adapted in states.items()})
        except WarmpromptError as error:
            note_error("states could not be stored; trying again", error)
            await asyncio.sleep(_RETRY_S)
            return
        for user, adapted in states.items():
            if self._pending.get(user) is adapted:
                del self._pending[user]
