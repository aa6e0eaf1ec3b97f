"""Connections whose requests must arrive whole in time; uvicorn itself waits for them without limit."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_WHOLE_S = 30.0


class PromptConnection(HttpToolsProtocol):
    """Uvicorn's connection, closed if a request is not there whole 30 seconds after its first byte.

    The same goes for a new connection on which nothing is sent. A base class, as uvicorn takes no timer.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Wait for the rest of a request."""
        super().on_message_begin()
        self._expect()

    def on_message_complete(self) -> None:
        """The request is there whole."""
        self._stop_waiting()
        super().on_message_complete()

    def _expect(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(_WHOLE_S, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
