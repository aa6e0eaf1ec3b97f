"""A client of a running service, for threads and for asyncio.

    with Client("http://127.0.0.1:8000") as client:
        client.send("ada", [Event(item=50, rating=5.0)], about="I like quiet films")
        ranking = client.recommend("ada", n=5)
        print(ranking.items, ranking.stale)

Both clients repeat a request that the service is too busy for, or that got no answer. Events carry an
idempotency key, so that a repeated request counts once. A refusal is a `RefusedError` with the service's
field, value and remedy. Importing this package imports neither torch nor the service.
"""

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
from warmprompt.client.clients import AsyncClient, Client
from warmprompt.types import Event

__all__ = [
    "AsyncClient",
    "Client",
    "DeletedAnswer",
    "Event",
    "FoundItem",
    "QuestionsAnswer",
    "RankedRow",
    "RankingAnswer",
    "RecordedAnswer",
    "RefusedError",
    "SentenceAnswer",
    "SimilarAnswer",
]
