"""The two clients; they differ in how they wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from warmprompt.client import calls
from warmprompt.client.answers import (
    DeletedAnswer,
    FoundItem,
    QuestionsAnswer,
    RankingAnswer,
    RecordedAnswer,
    SentenceAnswer,
    SimilarAnswer,
)
from warmprompt.client.calls import Call, PersonOptions, RankingOptions, Try, try_of
from warmprompt.types import Event, ItemId

_TRIES = 4
_TIMEOUT_S = 15.0
_Answer = TypeVar("_Answer")


class Client:
    """A service, asked from threads; close it, or use it as a context manager.

    Args:
        address: Such as http://127.0.0.1:8000.
        key: Made by `warmprompt keys create`; None on the service's own machine without keys.
        tries: How often a request is sent at most, while the service is busy or does not answer.
        http: Sends the requests in place of a new `httpx.Client`, such as one with a proxy.
    """

    def __init__(
        self, address: str, key: str | None = None, *, tries: int = _TRIES, http: httpx.Client | None = None
    ) -> None:
        self._http = http or httpx.Client(timeout=_TIMEOUT_S)
        self._http.base_url = httpx.URL(address)
        self._http.headers.update(_headers(key))
        self._tries = tries

    def send(
        self,
        user: str,
        events: Sequence[Event] = (),
        *,
        about: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> RecordedAnswer:
        """Append events, a sentence about the user or attributes to the user's log; each counts once.

        Raises:
            RefusedError: As every method.
        """
        return self._ask(calls.send_call(user, events, about, attributes))

    def recommend(self, user: str, **options: Unpack[RankingOptions]) -> RankingAnswer:
        """Rank the catalogue for a user; options as in `calls.RankingOptions`."""
        return self._ask(calls.ranking_call(user, options))

    def rank(self, events: Sequence[Event] = (), **options: Unpack[PersonOptions]) -> RankingAnswer:
        """Rank for somebody who is not stored; options as in `calls.PersonOptions`."""
        return self._ask(calls.person_call(events, options))

    def find(self, words: str = "", n: int = 20, *, filter: Sequence[str] = ()) -> tuple[FoundItem, ...]:  # noqa: A002
        """Find items by title; without words the most popular ones."""
        return self._ask(calls.find_call(words, n, filter))

    def similar(self, item: ItemId, **options: Unpack[RankingOptions]) -> SimilarAnswer:
        """Find the items most like an item; options `n`, `candidates`, `exclude` and `filter`."""
        return self._ask(calls.similar_call(item, options))

    def ask(self, user: str, n: int = 12, *, shown: Sequence[ItemId] = ()) -> QuestionsAnswer:
        """Choose items to ask a user about, most telling first; none that the log has.

        Args:
            user: The user's id.
            n: Items at most.
            shown: Items asked about before: not asked again, and not known unless in the log.
        """
        return self._ask(calls.ask_call(user, n, shown))

    def sentence(self, user: str, item: ItemId) -> SentenceAnswer:
        """Say why an item has its rank; a language model takes a second or so."""
        return self._ask(calls.sentence_call(user, item))

    def export(self, user: str) -> dict[str, Any]:
        """Return everything stored about a user."""
        return self._ask(calls.export_call(user))

    def forget(self, user: str) -> DeletedAnswer:
        """Delete everything stored about a user."""
        return self._ask(calls.forget_call(user))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def _ask(self, call: Call[_Answer]) -> _Answer:
        left = self._tries
        while True:
            outcome, left = self._tried(call), left - 1
            if outcome.wait_s is None or left <= 0:
                return outcome.settled()
            time.sleep(outcome.wait_s)

    def _tried(self, call: Call[_Answer]) -> Try[_Answer]:
        try:
            return try_of(call, self._http.request(**call.arguments()))
        except httpx.TransportError as error:
            return try_of(call, error)


class AsyncClient:
    """A service, asked from an event loop; arguments and methods as those of `Client`.

    Args:
        address, key, tries: As for `Client`.
        http: Sends the requests in place of a new `httpx.AsyncClient`.
    """

    def __init__(
        self,
        address: str,
        key: str | None = None,
        *,
        tries: int = _TRIES,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._http = http or httpx.AsyncClient(timeout=_TIMEOUT_S)
        self._http.base_url = httpx.URL(address)
        self._http.headers.update(_headers(key))
        self._tries = tries

    async def send(
        self,
        user: str,
        events: Sequence[Event] = (),
        *,
        about: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> RecordedAnswer:
        """Append to a user's log, as `Client.send`."""
        return await self._ask(calls.send_call(user, events, about, attributes))

    async def recommend(self, user: str, **options: Unpack[RankingOptions]) -> RankingAnswer:
        """Rank the catalogue for a user, as `Client.recommend`."""
        return await self._ask(calls.ranking_call(user, options))

    async def rank(self, events: Sequence[Event] = (), **options: Unpack[PersonOptions]) -> RankingAnswer:
        """Rank for somebody who is not stored, as `Client.rank`."""
        return await self._ask(calls.person_call(events, options))

    async def find(
        self,
        words: str = "",
        n: int = 20,
        *,
        filter: Sequence[str] = (),  # noqa: A002
    ) -> tuple[FoundItem, ...]:
        """Find items by title, as `Client.find`."""
        return await self._ask(calls.find_call(words, n, filter))

    async def similar(self, item: ItemId, **options: Unpack[RankingOptions]) -> SimilarAnswer:
        """Find the items most like an item, as `Client.similar`."""
        return await self._ask(calls.similar_call(item, options))

    async def ask(self, user: str, n: int = 12, *, shown: Sequence[ItemId] = ()) -> QuestionsAnswer:
        """Choose items to ask a user about, as `Client.ask`."""
        return await self._ask(calls.ask_call(user, n, shown))

    async def sentence(self, user: str, item: ItemId) -> SentenceAnswer:
        """Say why an item has its rank, as `Client.sentence`."""
        return await self._ask(calls.sentence_call(user, item))

    async def export(self, user: str) -> dict[str, Any]:
        """Return everything stored about a user."""
        return await self._ask(calls.export_call(user))

    async def forget(self, user: str) -> DeletedAnswer:
        """Delete everything stored about a user."""
        return await self._ask(calls.forget_call(user))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        await self.close()

    async def _ask(self, call: Call[_Answer]) -> _Answer:
        left = self._tries
        while True:
            outcome, left = await self._tried(call), left - 1
            if outcome.wait_s is None or left <= 0:
                return outcome.settled()
            await asyncio.sleep(outcome.wait_s)

    async def _tried(self, call: Call[_Answer]) -> Try[_Answer]:
        try:
            return try_of(call, await self._http.request(**call.arguments()))
        except httpx.TransportError as error:
            return try_of(call, error)


def _headers(key: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"} if key else {}
