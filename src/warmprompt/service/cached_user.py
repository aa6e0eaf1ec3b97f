"""One user in memory, and how the store's log and state become one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from warmprompt.adaptation.personaliser import Known
from warmprompt.adaptation.state import UserState
from warmprompt.errors import WarmpromptError
from warmprompt.service.model.numbers import Numbers, pack_numbers, unpack_numbers
from warmprompt.service.model.served_model import ServedModel, adapt_all
from warmprompt.service.user_history import EVENT, PROFILE, UserHistory, apply_entries, model_inputs
from warmprompt.store.contract import Store, StoredEntry, StoredState
from warmprompt.store.evidence import evidence_after


@dataclass(frozen=True, kw_only=True, eq=False)
class AdaptedState:
    """A state, and which model made it from which entries.

    Attributes:
        version: Of the model that made it.
        seq: Entries of the log that it was made from.
        evidence_hash: Of these entries.
        state: The state.
        left_out: Events that the model cannot use.
        adapt_ms: How long the adaptation took; None for a state read from the store.
    """

    version: str
    seq: int
    evidence_hash: str
    state: UserState
    left_out: int
    adapt_ms: float | None = None


@dataclass(kw_only=True, eq=False)
class CachedUser:
    """A user in memory; changed in the event loop only.

    Attributes:
        user: The id.
        history: The log, as far as read.
        adapted: The last state, or None.
        pages: Rankings of that state, encoded, by `page_key`.
        gone: The user was deleted: what is still under way for it is dropped.
        used_s: When last asked for, on the event loop's clock.
    """

    user: str
    history: UserHistory
    adapted: AdaptedState | None = None
    pages: dict[tuple[object, ...], bytes] = field(default_factory=dict)
    gone: bool = False
    used_s: float = 0.0

    def is_fresh(self, model: ServedModel) -> bool:
        """Return whether the state is of this model and made from the whole history."""
        mine = self.adapted
        return mine is not None and mine.version == model.version and mine.seq == self.history.seq

    def page(self, model: ServedModel, n: int, *, explain: bool) -> bytes | None:
        """Return a cached ranking; None where there is none or the state is behind."""
        if not self.pages or not self.is_fresh(model):
            return None
        return self.pages.get(page_key(model, self.history.seq, n, explain=explain))

    def apply(self, entries: Sequence[StoredEntry]) -> bool:
        """Apply entries of the log; returns False where they do not continue the history."""
        fresh = [entry for entry in entries if entry.seq > self.history.seq]
        if not fresh:
            return True
        continues = fresh[0].evidence_hash == evidence_after(self.history.evidence_hash, fresh[0])
        if fresh[0].seq != self.history.seq + 1 or not continues:
            return False
        self.history = apply_entries(self.history, fresh)
        self.pages.clear()
        return True


def page_key(model: ServedModel, seq: int, n: int, *, explain: bool) -> tuple[object, ...]:
    """Return the key of a user's cached ranking: everything that it depends on."""
    return (n, explain, model.version, model.items_version, seq)


def read_user(store: Store, user: str, model: ServedModel | None = None) -> CachedUser | None:
    """Return a user from the store, with a model's state if one is stored; None if unknown.

    Raises:
        DatabaseAwayError: The database cannot be reached.
    """
    entries = store.entries(user)
    if not entries:
        return None
    cached = CachedUser(user=user, history=apply_entries(UserHistory(), entries))
    stored = None if model is None else store.get_state(user, model.version)
    if model is not None and stored is not None:
        cached.adapted = _restored(stored, entries, model)
    return cached


def stored_form(adapted: AdaptedState) -> StoredState:
    """Return the form in which the store keeps a state: its numbers alone, as the log has the inputs."""
    return StoredState(
        model_hash=adapted.version,
        seq=adapted.seq,
        evidence_hash=adapted.evidence_hash,
        data=pack_numbers(Numbers(vector_D=adapted.state.vector_D, offsets_PH=adapted.state.offsets_PH)),
    )


def rebuilt(store: Store, user: str, model: ServedModel) -> StoredState | None:
    """Return a user's state recomputed from the log, None for an unknown user.

    It equals the state that the service stores for the same entries to the last byte.
    """
    cached = read_user(store, user)
    if cached is None:
        return None
    known, left_out = model_inputs(cached.history, model.personaliser)
    return stored_form(
        AdaptedState(
            version=model.version,
            seq=cached.history.seq,
            evidence_hash=cached.history.evidence_hash,
            state=adapt_all(model, [known])[0],
            left_out=left_out,
        )
    )


def texts_in(entries: Sequence[StoredEntry]) -> set[str]:
    """Return every text that a model may have read about a user."""
    history, texts = UserHistory(), set()
    for entry in entries:
        history = apply_entries(history, [entry])
        if entry.kind == EVENT:
            texts.add((tuple(history.events.values())[-1].text or "").strip())
        elif entry.kind == PROFILE:
            texts.add(Known(about=history.about, attributes=history.attributes).text)
    return texts - {""}


def _restored(stored: StoredState, entries: Sequence[StoredEntry], model: ServedModel) -> AdaptedState | None:
    """Return a stored state with its inputs from the log; None where it does not belong to this log."""
    history = apply_entries(UserHistory(), entries[: stored.seq])
    if (history.seq, history.evidence_hash) != (stored.seq, stored.evidence_hash):
        return None
    try:
        numbers = unpack_numbers(stored.data)
    except WarmpromptError:  # damaged or of another format: the state is recomputed
        return None
    known, left_out = model_inputs(history, model.personaliser)
    state = UserState(
        events=tuple(known.events),
        about=known.about,
        attributes=dict(known.attributes or {}),
        vector_D=numbers.vector_D,
        offsets_PH=numbers.offsets_PH,
        model_hash=model.personaliser.model_hash,
    )
    return AdaptedState(
        version=model.version,
        seq=stored.seq,
        evidence_hash=stored.evidence_hash,
        state=state,
        left_out=left_out,
    )
