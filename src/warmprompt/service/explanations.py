"""Explanations under way: a thread of their own beside the batches, and a few places to wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

from warmprompt.backbone.threads import use_threads
from warmprompt.service.batcher import QueueFullError
from warmprompt.service.metrics import Metrics

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class Explanations:
    """Runs explanations one after the other; lives in one event loop.

    Args:
        places: Explanations that may wait or run at once.
        metrics: Told how long each took.
    """

    def __init__(self, *, places: int, metrics: Metrics) -> None:
        self._places = places
        self._metrics = metrics
        self._taken = 0
        # A thread begins with as many processor threads of its own as the machine has, until it is told.
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="explain", initializer=use_threads, initargs=(None,)
        )

    async def run(
        self, call: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs
    ) -> _Result:
        """Return what a call in the thread returns; it may wait for others before it.

        Raises:
            QueueFullError: Too many wait.
        """
        with self._place_to_wait():
            begun_s = time.perf_counter()
            loop = asyncio.get_running_loop()
            found = await loop.run_in_executor(self._thread, lambda: call(*args, **kwargs))
            self._metrics.explanation.observe(time.perf_counter() - begun_s)
            return found

    def close(self) -> None:
        """End what runs; what waits is given up."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _place_to_wait(self) -> Iterator[None]:
        if self._taken >= self._places:
            raise QueueFullError(
                field="queue of explanations", value=self._taken, remedy="Try again in a second."
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
