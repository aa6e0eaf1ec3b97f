"""One user in memory, and how the user comes there from the store."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from warmprompt.adaptation.personaliser import Known
from warmprompt.adaptation.state import UserState
from warmprompt.errors import WarmpromptError
from warmprompt.service.model.live import Model, adapt_all, text_of
from warmprompt.service.model.numbers import Numbers, pack, unpack
from warmprompt.service.told import PROFILE, Told, after, known_to
from warmprompt.store.contract import Recorded, Store, StoredState, evidence_after


@dataclass(frozen=True, kw_only=True, eq=False)
class Adapted:
    """A state and where it comes from.

    Attributes:
        version: Of the model that made it.
        seq: Entries of the log that it knows.
        evidence_hash: Of these entries.
        state: The state.
        left_out: Events that the model cannot use.
        adapt_ms: How long the pass took, company included; None for a state read from the store.
    """

    version: str
    seq: int
    evidence_hash: str
    state: UserState
    left_out: int
    adapt_ms: float | None = None


@dataclass(kw_only=True, eq=False)
class AdaptJob:
    """An adaptation that waits or runs; while it waits, newer evidence may replace the older."""

    model: Model
    told: Told
    known: Known
    left_out: int
    held: Held | None = None
    future: asyncio.Future[Adapted] | None = None


@dataclass(kw_only=True, eq=False)
class Held:
    """A user in memory; changed in the event loop only.

    Attributes:
        user: The id.
        told: What the log says, as far as read.
        adapted: The last state, or None.
        pages: Rankings of that state, encoded, by what was asked for.
        waiting: The adaptation in the queue, if any.
        running: The adaptation under way, if any.
        gone: The user was deleted or left memory: what is still under way is not kept.
        used_s: When last asked for, on the loop's clock.
    """

    user: str
    told: Told
    adapted: Adapted | None = None
    pages: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    waiting: AdaptJob | None = None
    running: AdaptJob | None = None
    gone: bool = False
    used_s: float = 0.0

    def is_fresh(self, model: Model) -> bool:
        """Tell whether the state is of this model and knows all that was told."""
        mine = self.adapted
        return mine is not None and mine.version == model.version and mine.seq == self.told.seq

    def page(self, model: Model, n: int, *, explain: bool) -> bytes | None:
        """Return a ranking of the state, made before; None where there is none or the state is behind."""
        if not self.pages or not self.is_fresh(model):
            return None
        return self.pages.get(page_key(model, self.told.seq, n, explain=explain))

    def advance(self, entries: Sequence[Recorded]) -> bool:
        """Take in entries of the log; False where they do not continue what was told."""
        fresh = [entry for entry in entries if entry.seq > self.told.seq]
        if not fresh:
            return True
        continues = fresh[0].evidence_hash == evidence_after(self.told.evidence_hash, fresh[0])
        if fresh[0].seq != self.told.seq + 1 or not continues:
            return False
        self.told = after(self.told, fresh)
        self.pages.clear()
        return True


def page_key(model: Model, seq: int, n: int, *, explain: bool) -> tuple[object, ...]:
    """Return what a ranking is kept under: all that it depends on, of one user."""
    return (n, explain, model.version, model.items_version, seq)


def read_user(store: Store, user: str, models: Sequence[Model]) -> Held | None:
    """Return a user as the store has them, with the state of the first model that has one; None if unknown.

    Raises:
        DatabaseAwayError: The database cannot be reached.
    """
    entries = store.entries(user)
    if not entries:
        return None
    held = Held(user=user, told=after(Told(), entries))
    for model in models:
        stored = store.get_state(user, model.version)
        held.adapted = None if stored is None else _revived(stored, entries, model)
        if held.adapted is not None:
            break
    return held


def stored_form(adapted: Adapted) -> StoredState:
    """Return what the store keeps of a state: numbers alone, what was told stands in the log."""
    return StoredState(
        model_hash=adapted.version,
        seq=adapted.seq,
        evidence_hash=adapted.evidence_hash,
        data=pack(Numbers(vector_D=adapted.state.vector_D, offsets_PH=adapted.state.offsets_PH)),
    )


def rebuilt(store: Store, user: str, model: Model) -> StoredState | None:
    """Return a user's state computed anew from the log, None for an unknown user.

    It equals the state that the service stores for the same entries to the last byte.
    """
    held = read_user(store, user, ())
    if held is None:
        return None
    known, left_out = known_to(held.told, model.personaliser)
    return stored_form(
        Adapted(
            version=model.version,
            seq=held.told.seq,
            evidence_hash=held.told.evidence_hash,
            state=adapt_all(model, [known])[0],
            left_out=left_out,
        )
    )


def texts_in(entries: Sequence[Recorded]) -> set[str]:
    """Return every text that a model may have read about a user."""
    told, texts = Told(), set()
    for entry in entries:
        told = after(told, [entry])
        if entry.kind == PROFILE:
            texts.add(text_of(Known(about=told.about, attributes=told.attributes)))
    return texts - {""}


def _revived(stored: StoredState, entries: Sequence[Recorded], model: Model) -> Adapted | None:
    """Return a stored state with what was told put back; None where it does not belong to this log."""
    told = after(Told(), entries[: stored.seq])
    if (told.seq, told.evidence_hash) != (stored.seq, stored.evidence_hash):
        return None
    try:
        numbers = unpack(stored.data)
    except WarmpromptError:  # damaged or of another format: the state is derived anew
        return None
    known, left_out = known_to(told, model.personaliser)
    state = UserState(
        events=tuple(known.events),
        about=known.about,
        attributes=dict(known.attributes or {}),
        vector_D=numbers.vector_D,
        offsets_PH=numbers.offsets_PH,
        model_hash=model.personaliser.model_hash,
    )
    return Adapted(
        version=model.version,
        seq=stored.seq,
        evidence_hash=stored.evidence_hash,
        state=state,
        left_out=left_out,
    )
