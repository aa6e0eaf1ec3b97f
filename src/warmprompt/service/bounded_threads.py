"""Threads for calls that would block the event loop, with a limit on how many calls may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from warmprompt.coalescing import QueueFullError

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class BoundedThreads:
    """Runs calls in a pool of threads; belongs to one event loop.

    Args:
        num_threads: Threads in the pool.
        limit: Calls that may wait or run at once.
        name: Of what the threads do, for error messages.
        initializer: Called once in each thread, or None.
    """

    def __init__(
        self, num_threads: int, *, limit: int, name: str, initializer: Callable[[], object] | None = None
    ) -> None:
        self._limit = limit
        self._name = name
        self._open = 0
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix=name, initializer=initializer)

    async def run(
        self, call: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Return what a call in one of the threads returns.

        Raises:
            QueueFullError: As many calls are open as may be.
        """
        if self._open >= self._limit:
            raise QueueFullError(
                field=f"queue of {self._name}", value=self._open, remedy="Try again in a second."
            )
        self._open += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, lambda: call(*args, **kwargs))
        finally:
            self._open -= 1

    def close(self) -> None:
        """Wait for the calls that run; those that wait are cancelled."""
        self._threads.shutdown(wait=True, cancel_futures=True)
