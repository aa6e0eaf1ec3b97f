"""Requests of both clients: how each is sent, how its answer is read, and when it is sent again."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx

from warmprompt.client.answers import (
    DeletedAnswer,
    FoundItem,
    QuestionsAnswer,
    RankedRow,
    RankingAnswer,
    RecordedAnswer,
    RefusedError,
    SentenceAnswer,
    SimilarAnswer,
)
from warmprompt.types import Event, ItemId

_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
Answer = TypeVar("Answer")


class RankingOptions(TypedDict, total=False):
    """Options of a stored user's ranking.

    Attributes:
        n: Items, at most 200; with `explain` at most 10.
        candidates: Rank only these items.
        exclude: Rank none of these items.
        filter: Rank only items with these attributes: "genres=Comedy", "year=1990..1999".
        ordered: The log is all that the user did, oldest first: the order counts. Not with `explain`.
        explain: Explain the rank of each item.
        budget_ms: How long the service may take before the ranking is stale.
        fresh: Ask again while the ranking is stale; after the last try it is returned as it is.
    """

    n: int
    candidates: Sequence[ItemId]
    exclude: Sequence[ItemId]
    filter: Sequence[str]
    ordered: bool
    explain: bool
    budget_ms: int
    fresh: bool


class PersonOptions(TypedDict, total=False):
    """Inputs and options of a ranking for somebody who is not stored.

    Attributes:
        about: A sentence about the person.
        attributes: Such as age and occupation, as text.
        n, candidates, exclude: As in `RankingOptions`.
        filter: A value, several, or a range by attribute: {"genres": "Comedy", "year": {"min": 1990}}.
        ordered: The events are all that the person did, oldest first: their order counts.
    """

    about: str
    attributes: Mapping[str, str]
    n: int
    candidates: Sequence[ItemId]
    exclude: Sequence[ItemId]
    filter: Mapping[str, Any]
    ordered: bool


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Answer]):
    """One request; sent again it has the same effect as sent once.

    Attributes:
        method, path, params, body, headers: As sent.
        read: Makes the answer of the response's JSON.
        unfinished: Tells whether an answer is a reason to ask again.
    """

    method: str
    path: str
    read: Callable[[Any], Answer]
    params: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    unfinished: Callable[[Answer], bool] = lambda _answer: False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `httpx.Client.request`."""
        return {
            "method": self.method,
            "url": self.path,
            "params": {name: value for name, value in self.params.items() if value is not None},
            "json": self.body,
            "headers": dict(self.headers),
        }


@dataclass(frozen=True, kw_only=True)
class Try(Generic[Answer]):
    """What became of a try.

    Attributes:
        answer: The answer, or None.
        error: The refusal, or None.
        wait_s: Ask again after it, if there is a try left; None where that would not help.
    """

    answer: Answer | None = None
    error: RefusedError | None = None
    wait_s: float | None = None

    def settled(self) -> Answer:
        """Return the answer or raise the refusal."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


def try_of(call: Call[Answer], response: httpx.Response | httpx.TransportError) -> Try[Answer]:
    """Return what a response, or its absence, means for a call."""
    if isinstance(response, httpx.TransportError):
        remedy = f"Nothing answered ({type(response).__name__}): see whether the service runs there."
        return Try(error=RefusedError(field="service", value=call.path, remedy=remedy), wait_s=_WAIT_S)
    if response.is_success:
        answer = call.read(response.json())
        return Try(answer=answer, wait_s=_WAIT_S if call.unfinished(answer) else None)
    busy = response.status_code in {429, 503}
    return Try(error=_refusal(response), wait_s=_retry_after_s(response) if busy else None)


def send_call(
    user: str, events: Sequence[Event], about: str | None, attributes: Mapping[str, str] | None
) -> Call[RecordedAnswer]:
    """Append to a user's log."""
    return Call(
        method="POST",
        path=_path(user, "/events"),
        body=_inputs(events, about=about, attributes=attributes),
        headers={"Idempotency-Key": str(uuid.uuid4())},
        read=lambda row: _made(RecordedAnswer, row),
    )


def ranking_call(user: str, options: RankingOptions) -> Call[RankingAnswer]:
    """Rank for a stored user."""
    return Call(
        method="GET",
        path=_path(user, "/recommendations"),
        params={name: value for name, value in options.items() if name != "fresh"},
        read=_ranking,
        unfinished=lambda answer: answer.stale and options.get("fresh", False),
    )


def person_call(events: Sequence[Event], options: PersonOptions) -> Call[RankingAnswer]:
    """Rank for somebody who is not stored."""
    return Call(method="POST", path="/v1/rank", body=_inputs(events, **options), read=_ranking)


def find_call(words: str, n: int, filter: Sequence[str]) -> Call[tuple[FoundItem, ...]]:  # noqa: A002
    """Find items by title."""
    return Call(
        method="GET",
        path="/v1/items",
        params={"q": words, "n": n, "filter": list(filter)},
        read=lambda row: tuple(_made(FoundItem, one) for one in row["items"]),
    )


def similar_call(item: ItemId, options: RankingOptions) -> Call[SimilarAnswer]:
    """Find the items most like an item."""
    return Call(
        method="GET",
        path=f"/v1/items/{quote(str(item), safe='')}/similar",
        params=dict(options),
        read=lambda row: _made(SimilarAnswer, row, items=_rows(row)),
    )


def ask_call(user: str, n: int, shown: Sequence[ItemId]) -> Call[QuestionsAnswer]:
    """Choose items to ask a user about."""
    return Call(
        method="GET",
        path=_path(user, "/questions"),
        params={"n": n, "shown": [str(item) for item in shown]},
        read=lambda row: _made(
            QuestionsAnswer,
            row,
            items=tuple(one["item"] for one in row["items"]),
            titles=tuple(one["title"] for one in row["items"]),
        ),
    )


def sentence_call(user: str, item: ItemId) -> Call[SentenceAnswer]:
    """Say why an item has its rank."""
    return Call(
        method="GET",
        path=_path(user, "/sentence"),
        params={"item": str(item)},
        read=lambda row: _made(SentenceAnswer, row, checks=tuple(row["checks"])),
    )


def export_call(user: str) -> Call[dict[str, Any]]:
    """Return everything stored about a user."""
    return Call(method="GET", path=_path(user), read=dict)


def forget_call(user: str) -> Call[DeletedAnswer]:
    """Delete everything stored about a user."""
    return Call(method="DELETE", path=_path(user), read=lambda row: _made(DeletedAnswer, row))


def _path(user: str, below: str = "") -> str:
    return f"/v1/users/{quote(user, safe='')}{below}"


def _inputs(events: Sequence[Event], **more: Any) -> dict[str, Any]:
    rows = [
        {name: value for name, value in dataclasses.asdict(event).items() if value is not None}
        for event in events
    ]
    return {"events": rows} | {name: value for name, value in more.items() if value is not None}


def _made(kind: Callable[..., Answer], row: Mapping[str, Any], **read: Any) -> Answer:
    names = [one.name for one in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: row[name] for name in names if name in row} | read)


def _rows(row: Mapping[str, Any]) -> tuple[RankedRow, ...]:
    return tuple(_made(RankedRow, one) for one in row["items"])


def _ranking(row: Mapping[str, Any]) -> RankingAnswer:
    return _made(RankingAnswer, row, items=_rows(row))


def _refusal(response: httpx.Response) -> RefusedError:
    try:
        problem = response.json()
        parts = {name: problem[name] for name in ("field", "value", "remedy")}
    except (ValueError, KeyError, TypeError):  # of something between here and the service
        parts = {"field": "response", "value": response.reason_phrase, "remedy": "See what answers there."}
    return RefusedError(**parts, status=response.status_code)


def _retry_after_s(response: httpx.Response) -> float:
    sent = response.headers.get("Retry-After", "")
    return min(float(sent), _LONGEST_WAIT_S) if sent.isdigit() else _WAIT_S
