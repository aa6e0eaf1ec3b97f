"""Rebuild every user's state from the log, a few at a time, as after a change of model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from warmprompt.errors import BadInputError
from warmprompt.store.contract import Put, Store, StoredEntry, StoredState

Adapt = Callable[[Sequence[tuple[str, tuple[StoredEntry, ...]]]], Sequence[bytes]]
"""Maps users, each with the whole log, to one state each."""


@dataclass(frozen=True, kw_only=True)
class Rebuilt:
    """Progress of a rebuild.

    Attributes:
        seen: Users processed since it began.
        stored: States written.
        passed_over: Users whom another process updated first, or who were deleted meanwhile.
        total: Users who needed a state when it began.
    """

    seen: int
    stored: int
    passed_over: int
    total: int


def rebuild_states(store: Store, adapt: Adapt, *, model_hash: str, num_users: int = 64) -> Iterator[Rebuilt]:
    """Update every state of a model to the end of its user's log; yields the progress after each batch.

    It may be stopped and restarted, and may run next to a service or in several processes at once. It only
    processes states that are missing or behind, and never replaces a newer state. A user whose log grows
    meanwhile may be behind again.

    Args:
        store: The store.
        adapt: Makes the states of a batch of users.
        model_hash: Of the model that `adapt` uses.
        num_users: Users in a batch.

    Raises:
        BadInputError: `adapt` returned another number of states.
        DatabaseAwayError: The database went away; begin again later.
    """
    counts = store.progress(model_hash)
    total = counts.users - counts.current
    seen = stored = 0
    after: int | None = 0
    while after is not None:
        page = store.behind(model_hash, after=after, limit=num_users)
        after = page.next
        logs = [(head.user, store.entries(head.user)) for head in page.users]
        logs = [(user, log) for user, log in logs if log]
        made = adapt(logs) if logs else []
        if len(made) != len(logs):
            remedy = f"Return one state for each of {len(logs)} users."
            raise BadInputError(field="states from adapt", value=len(made), remedy=remedy)
        for (user, log), data in zip(logs, made, strict=True):
            state = StoredState(
                model_hash=model_hash, seq=log[-1].seq, evidence_hash=log[-1].evidence_hash, data=data
            )
            stored += store.put_state(user, state) is Put.STORED
        seen += len(page.users)
        if page.users:
            yield Rebuilt(seen=seen, stored=stored, passed_over=seen - stored, total=total)
