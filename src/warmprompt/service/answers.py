"""The state that a request ranks with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warmprompt.adaptation.state import UserState
from warmprompt.service.cached_user import AdaptedState, CachedUser
from warmprompt.service.model.served_model import ServedModel
from warmprompt.types import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class Answer:
    """A state to rank with.

    Attributes:
        model: Ranks with it.
        state: The state.
        seq: Entries of the log that are all in the state.
        last_seq: Entries of the log.
        left_out: Events that the model cannot use.
        adapt_ms: How long the adaptation took; None where none was needed.
        cached: The user in memory, None for an unknown user.
        stale: A text could not be read in time. The state holds all events, and not that text.
        readings: Of what the user wrote with events, where the model uses that.
    """

    model: ServedModel
    state: UserState
    seq: int
    last_seq: int
    left_out: int = 0
    adapt_ms: float | None = None
    cached: CachedUser | None = None
    stale: bool = False
    readings: Mapping[str, Floats] = field(default_factory=dict)


def unknown_user(model: ServedModel) -> Answer:
    """Return the answer for a user of whom nothing is known."""
    return Answer(model=model, state=model.start, seq=0, last_seq=0)


def answer_of(
    model: ServedModel,
    adapted: AdaptedState,
    cached: CachedUser | None,
    readings: Mapping[str, Floats] | None = None,
) -> Answer:
    """Return the answer that a state of a user's whole log gives.

    Args:
        model: That made the state.
        adapted: The state.
        cached: The user; None for inputs that are not stored.
        readings: Of what the user wrote with events.
    """
    return Answer(
        model=model,
        state=adapted.state,
        seq=adapted.seq,
        last_seq=adapted.seq if cached is None else max(cached.history.seq, adapted.seq),
        left_out=adapted.left_out,
        adapt_ms=adapted.adapt_ms,
        cached=cached,
        readings=readings or {},
    )
