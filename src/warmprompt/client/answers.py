"""What the service answers, as typed values; fields that a later service adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from warmprompt.errors import WarmpromptError
from warmprompt.types import ItemId


class RefusedError(WarmpromptError):
    """The service refused a request, or nothing answered.

    Args:
        field, value, remedy: As the service names them.
        status: Of HTTP; 0 if nothing answered.
    """

    def __init__(self, *, field: str, value: object, remedy: str, status: int = 0) -> None:
        super().__init__(field=field, value=value, remedy=remedy)
        self.status = status


@dataclass(frozen=True, kw_only=True)
class RankedRow:
    """One item of a ranking.

    Attributes:
        rank: 1 the best.
        item: Its id.
        title: Its title, "" if it has none.
        score: Only differences between items of one user mean something.
        explanation: With `explain=True`: effects, experts, nearest liked items and a sentence.
    """

    rank: int
    item: ItemId
    title: str
    score: float
    explanation: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class RankingAnswer:
    """The best items of a user, best first.

    Attributes:
        items: Best first.
        stale: The ranking does not include all that was sent: a text was not read in time. Ask again.
        seq: Entries of the log that it includes.
        last_seq: Entries of the log.
        model: Version of the model that ranked.
        adapt_ms: How long the adaptation took, or None where the service had its result.
    """

    items: tuple[RankedRow, ...]
    stale: bool
    seq: int
    last_seq: int
    model: str
    adapt_ms: float | None


@dataclass(frozen=True, kw_only=True)
class SimilarAnswer:
    """The items most like an item.

    Attributes:
        item: The item asked for.
        title: Its title.
        items: Most similar first; scores are cosines.
        model: Version of the model.
    """

    item: ItemId
    title: str
    items: tuple[RankedRow, ...]
    model: str


@dataclass(frozen=True, kw_only=True)
class RecordedAnswer:
    """Entries of a user's log, on the service's disk.

    Attributes:
        first_seq: Number of the first entry.
        last_seq: Number of the last one.
        repeated: They had been there already, from an earlier try of the same request.
    """

    first_seq: int
    last_seq: int
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class FoundItem:
    """An item of the catalogue.

    Attributes:
        item: Its id.
        title: Its title, "" if it has none.
        popularity: log(1 + events of training users).
        added: It was added after training.
        hidden: It is in no ranking.
    """

    item: ItemId
    title: str
    popularity: float
    added: bool
    hidden: bool


@dataclass(frozen=True, kw_only=True)
class QuestionsAnswer:
    """Items to ask a user about, the most telling first.

    Attributes:
        items: Their ids.
        titles: Their titles, "" for none.
        seq: Entries of the log that the choice rests on.
        model: Version of the model.
    """

    items: tuple[ItemId, ...]
    titles: tuple[str, ...]
    seq: int
    model: str


@dataclass(frozen=True, kw_only=True)
class SentenceAnswer:
    """Why an item has its rank, in words.

    Attributes:
        item: Its id.
        title: Its title.
        sentence: The words.
        how: Who wrote them: "model" or "template".
        checks: The claims of the sentence, and whether each holds.
        stale: As in `RankingAnswer`.
        seq: Entries of the log that it rests on.
    """

    item: ItemId
    title: str
    sentence: str
    how: str
    checks: tuple[Mapping[str, Any], ...]
    stale: bool
    seq: int


@dataclass(frozen=True, kw_only=True)
class DeletedAnswer:
    """Numbers of deleted rows; all zero for an unknown user.

    Attributes:
        entries: Of the log.
        states: Derived from it.
        idempotency_keys: Of its requests.
        scrubbed: No byte is left in the database's own files; otherwise they are removed later.
    """

    entries: int
    states: int
    idempotency_keys: int
    scrubbed: bool
