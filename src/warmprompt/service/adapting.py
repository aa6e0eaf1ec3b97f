"""From a user's inputs to a state: texts by their worker, then arithmetic in the linear response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from warmprompt.adaptation.personaliser import Known
from warmprompt.adaptation.state import UserState
from warmprompt.coalescing import QueueFullError
from warmprompt.service.cached_user import AdaptedState
from warmprompt.service.metrics import Metrics
from warmprompt.service.model.served_model import ServedModel, adapt_user
from warmprompt.service.text_worker import TextWorker
from warmprompt.service.user_history import UserHistory
from warmprompt.types import Floats

# A catalogue of this size is ranked in less time than another thread takes to wake up.
_AT_ONCE = 20_000

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")


class Adaptations:
    """Makes states; belongs to one event loop.

    Args:
        texts: Reads what users write.
        metrics: Counts what happens.
        ask: Runs what takes a while in a thread.
    """

    def __init__(self, texts: TextWorker, metrics: Metrics, ask: Callable[..., Awaitable[Any]]) -> None:
        self._texts = texts
        self._metrics = metrics
        self._ask = ask

    async def read(
        self, model: ServedModel, known: Known, *, budget_s: float | None
    ) -> tuple[dict[str, Floats], bool]:
        """Return the readings of a user's texts, and whether all were read in time."""
        texts = model.texts.texts_of(known)
        readings = self._texts.known(model.texts, texts)
        missing = [text for text in texts if text not in readings]
        if not missing:
            return readings, True
        begun_s = time.perf_counter()
        try:
            futures = self._texts.submit(model.texts, missing)
        except QueueFullError:
            return readings, False
        done, _ = await asyncio.wait(set(futures), timeout=budget_s)
        self._metrics.wait.observe(time.perf_counter() - begun_s)
        for text, future in zip(missing, futures, strict=True):
            if future in done and not future.cancelled():
                readings[text] = future.result()
        return readings, len(readings) == len(texts)

    async def adapt(
        self,
        model: ServedModel,
        history: UserHistory,
        known: Known,
        readings: Mapping[str, Floats],
        *,
        left_out: int,
    ) -> AdaptedState:
        """Adapt to the inputs that a history gives, whose texts were read.

        Raises:
            NotFiniteError: A loss became NaN or infinite.
        """
        begun_s = time.perf_counter()
        state = await self.compute(model, adapt_user, model, known, readings)
        spent_s = time.perf_counter() - begun_s
        self._metrics.adaptation.observe(spent_s)
        return AdaptedState(
            version=model.version,
            seq=history.seq,
            evidence_hash=history.evidence_hash,
            state=state,
            left_out=left_out,
            adapt_ms=round(1000 * spent_s, 2),
        )

    async def without_unread(
        self, model: ServedModel, known: Known, readings: dict[str, Floats], *, former: Known
    ) -> UserState:
        """Return a state without the texts that were not read.

        Raises:
            QueueFullError: Nothing else is known of the user, so the ranking would be anybody's.
        """
        readings |= self._texts.known(model.texts, [former.text])
        usable = model.texts.as_read(known, readings, former=former)
        if not usable.events and not usable.text:
            raise QueueFullError(
                field="queue of texts", value=len(self._texts), remedy="Try again in a second."
            )
        self._metrics.stale.inc()
        return await self.compute(model, adapt_user, model, usable, readings)

    async def compute(
        self,
        model: ServedModel,
        call: Callable[_Params, _Result],
        *args: _Params.args,
        **kwargs: _Params.kwargs,
    ) -> _Result:
        """Run a model's arithmetic: at once, or in a thread where the catalogue is large."""
        if model.num_items <= _AT_ONCE:
            return call(*args, **kwargs)
        computed: _Result = await self._ask(call, *args, **kwargs)
        return computed
