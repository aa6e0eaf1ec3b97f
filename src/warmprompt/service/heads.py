"""Whether logs have grown, asked for many users at once.

Where several processes share a database, every ranking from memory depends on it.

A question that comes while others are under way waits and shares the next one. None is answered from a
statement that began before it came, so whatever was acknowledged before a request is seen by it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from warmprompt.service.batcher import QueueFullError
from warmprompt.store.contract import Head

_UNDER_WAY = 2
_LARGEST = 256


class Heads:
    """Asks for the ends of users' logs; lives in one event loop.

    Args:
        find: Asks the store, off the loop; returns the heads of the users that it knows.
        queue: Users that may wait.
    """

    def __init__(self, find: Callable[[Sequence[str]], Awaitable[Sequence[Head]]], *, queue: int) -> None:
        self._find = find
        self._queue = queue
        self._waiting: dict[str, asyncio.Future[Head | None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way = 0

    async def get(self, user: str) -> Head | None:
        """Return the end of a user's log, None for an unknown user.

        Raises:
            QueueFullError: Too many wait.
            DatabaseAwayError: The database cannot be reached.
        """
        future = self._waiting.get(user)
        if future is None:
            if len(self._waiting) >= self._queue:
                raise QueueFullError(
                    field="queue of the database", value=self._queue, remedy="Try again in a second."
                )
            future = self._waiting[user] = asyncio.get_running_loop().create_future()
            self._begin()
        return await asyncio.shield(future)

    async def close(self) -> None:
        """End what is under way; whoever still waits is cancelled."""
        for task in list(self._tasks):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    def _begin(self) -> None:
        if self._under_way < _UNDER_WAY:
            self._under_way += 1
            task = asyncio.get_running_loop().create_task(self._work(), name="heads")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _work(self) -> None:
        try:
            await self._ask_while_somebody_waits()
        finally:
            # In the same step as the last look at who waits: nobody can come between the two.
            self._under_way -= 1

    async def _ask_while_somebody_waits(self) -> None:
        while self._waiting:
            users = list(self._waiting)[:_LARGEST]
            futures = {user: self._waiting.pop(user) for user in users}
            try:
                found = {head.user: head for head in await self._find(users)}
            except asyncio.CancelledError:
                for future in futures.values():
                    future.cancel()
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is belongs to those who asked
                for future in futures.values():
                    future.set_exception(error)
                    future.exception()  # somebody who gave up waiting is no error of ours
            else:
                for user, future in futures.items():
                    future.set_result(found.get(user))
