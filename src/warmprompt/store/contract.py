"""What may be asked of a store, and the values that travel.

Each user has a log of entries, numbered 1, 2, 3 ... without gaps, that is only ever appended to. Events and
what users say of themselves are entries; so everything else, above all the user's state, can be derived from
the log again. Bodies and states are opaque here: the store knows bytes, text and versions, and no model.

The evidence hash after entry n is SHA-256(hash after entry n - 1, kind, body), so it names the first n
entries of a log: two logs with the same hash hold the same entries, and a state that carries the hash says
exactly what it was made from.

Every method may be called from several threads, and several processes may share one database. Whatever a
method wrote is on the disk when it returns. Any method raises `DatabaseAwayError` while the database cannot
be reached; the next call tries again, nothing has to be reopened. A call that failed so may have been
carried out: repeat an append with the same idempotency key, and it counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from types import TracebackType
from typing import Protocol, Self

NO_EVIDENCE = sha256(b"warmprompt log 1").hexdigest()
"""The evidence hash of an empty log."""

MAX_ID_BYTES = 512
"""Longest user id, item id, idempotency key, kind, model hash or key name, in bytes of UTF-8."""

MAX_BODY_BYTES = 65_536
"""Longest body of an entry or item, in bytes of UTF-8."""

MAX_STATE_BYTES = 16_777_216
"""Longest state."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One thing to be remembered of a user.

    Attributes:
        kind: What it is, such as "event" or "profile"; 1 to 512 bytes.
        body: JSON text of at most 65,536 bytes, kept to the letter; never read here.
    """

    kind: str
    body: str


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """An entry in a user's log.

    Attributes:
        seq: Its place, from 1.
        kind: As told.
        body: As told.
        evidence_hash: Of the log up to and with this entry.
        time_s: When it was recorded, seconds since 1970; not part of the evidence.
    """

    seq: int
    kind: str
    body: str
    evidence_hash: str
    time_s: int


@dataclass(frozen=True, kw_only=True)
class Appended:
    """What an append did.

    Attributes:
        first_seq: Place of the first entry told.
        last_seq: Place of the last.
        evidence_hash: Of the log up to and with `last_seq`.
        repeated: The idempotency key had been used with the same entries: nothing was written now, and the
            other fields are those of the first time.
    """

    first_seq: int
    last_seq: int
    evidence_hash: str
    repeated: bool


@dataclass(frozen=True, kw_only=True)
class Head:
    """The end of a user's log.

    Attributes:
        user: The user's id.
        last_seq: Entries in the log.
        evidence_hash: Of the whole log.
    """

    user: str
    last_seq: int
    evidence_hash: str


@dataclass(frozen=True, kw_only=True)
class StoredState:
    """A user's state, derived by a model from the first entries of the log.

    Attributes:
        model_hash: Of the model that made it and alone can use it.
        seq: How many entries it was made from, at least 1.
        evidence_hash: Of these entries.
        data: The state as bytes, at most 16 MiB.
    """

    model_hash: str
    seq: int
    evidence_hash: str
    data: bytes


class Put(StrEnum):
    """What became of a state that was put."""

    STORED = "stored"
    """It is the user's state of that model now."""

    KEPT = "kept"
    """The model's state held for the user was made from as many entries or more, and was kept."""

    REFUSED = "refused"
    """The log does not begin with that evidence: the user was deleted meanwhile, or never was."""


@dataclass(frozen=True, kw_only=True)
class Page:
    """Some users, in the order of their first entry.

    Attributes:
        users: The end of each one's log.
        next: Give it as `after` to get the next page; None when there is none.
    """

    users: tuple[Head, ...]
    next: int | None


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a model's states are.

    Attributes:
        users: Users in the store.
        current: Those whose state of this model stands at the end of their log.
    """

    users: int
    current: int


@dataclass(frozen=True, kw_only=True)
class Export:
    """Everything held about one user.

    Attributes:
        user: The user's id.
        first_seen_s: When the user's first entry was recorded, seconds since 1970.
        entries: The whole log.
        idempotency_keys: With the places of the first and last entry told under each.
        states: One for each model that has one.
    """

    user: str
    first_seen_s: int
    entries: tuple[Recorded, ...]
    idempotency_keys: tuple[tuple[str, int, int], ...]
    states: tuple[StoredState, ...]


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """What was deleted of a user; all zero for one who was not there.

    Attributes:
        entries: Entries of the log.
        states: States.
        idempotency_keys: Idempotency keys.
        scrubbed: No byte of them is left in the database's own files. False where that is left to `scrub`:
            in a large SQLite file, or while another process still reads from before the deletion;
            and always on PostgreSQL, where bytes stay in free space until the server reuses it.
    """

    entries: int
    states: int
    idempotency_keys: int
    scrubbed: bool


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item added while the service runs.

    Attributes:
        id: Its id.
        body: JSON text of at most 65,536 bytes: title, text, attributes, as the service has them.
    """

    id: str
    body: str


@dataclass(frozen=True, kw_only=True)
class ItemChanges:
    """The items added, changed, hidden or shown again since a version.

    Attributes:
        version: Of the list now; give it as `since` next time.
        items: Each changed item as it is now, in the order of the last change.
        hidden: Ids of the items hidden since, and still so; sorted.
        shown: Ids of the items shown again since, and still so; sorted.
    """

    version: int
    items: tuple[Item, ...]
    hidden: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """A key that clients show; the store never sees the key itself.

    Attributes:
        name: Unique; what people call it by.
        key_hash: A hash of the key, as text; unique.
        scopes: What it may do, such as {"read", "write"}.
        created_s: Seconds since 1970.
        revoked_s: Since when it counts no more, or None.
    """

    name: str
    key_hash: str
    scopes: frozenset[str]
    created_s: int
    revoked_s: int | None = None


class Store(Protocol):
    """Users' logs and states, items added at run time, and API keys; open one with `open_store`."""

    def append(self, user: str, entries: Sequence[Entry], *, idempotency_key: str | None = None) -> Appended:
        """Add entries to the end of a user's log, all or none; the first ones make the user.

        Appends to one user follow one another, whichever process they come from, so places have no gaps
        and the entries of one call stand side by side.

        Args:
            user: The user's id, 1 to 512 bytes of UTF-8 without NUL.
            entries: At least one.
            idempotency_key: Names this append among the user's. Repeated with the same entries it answers as
                the first time and writes nothing. It is remembered as long as the user is.

        Raises:
            BadInputError: Something told cannot be; names it.
            MismatchError: The key was used with other entries.
            DatabaseAwayError: See above.
        """

    def entries(self, user: str, *, after: int = 0, limit: int | None = None) -> tuple[Recorded, ...]:
        """Return a user's entries behind place `after`, oldest first, at most `limit`; () for an unknown one.

        Entries appended meanwhile may be there or not, but never a later one without the earlier ones.
        """

    def head(self, user: str) -> Head | None:
        """Return the end of a user's log, None for an unknown user; the cheapest way to learn of news."""

    def heads(self, users: Sequence[str]) -> tuple[Head, ...]:
        """Return the ends of several users' logs in one question, in no order; unknown users have none."""

    def users(self, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of users.

        Following `Page.next` from 0 meets everybody once who was there at the start and is not deleted.
        """

    def get_state(self, user: str, model_hash: str) -> StoredState | None:
        """Return a model's state of a user, or None.

        It may be behind the log: compare its `seq` with that of `head`.
        """

    def put_state(self, user: str, state: StoredState) -> Put:
        """Keep a state, unless the model's state held was made from as many entries or more.

        Each model has its own state of a user, so two models in use at once (a rollout) do not disturb
        each other. The evidence hash must be that of the log at `state.seq`.

        Raises:
            BadInputError: Something told cannot be; names it.
        """

    def behind(self, model_hash: str, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of the users whose state of a model is missing or behind their log."""

    def progress(self, model_hash: str) -> Progress:
        """Count the users, and those whose state of a model is current; reads one row per user."""

    def drop_states(self, *, keep: Iterable[str], limit: int = 1000) -> int:
        """Delete up to `limit` states of models other than those named; returns how many there were."""

    def export(self, user: str) -> Export | None:
        """Return everything held about a user as of one moment, None for an unknown user."""

    def delete(self, user: str) -> Deleted:
        """Delete everything held about a user; see `Deleted.scrubbed` for the files.

        A state that is put afterwards, but was made before, is refused. An append that comes afterwards
        begins a new log, also one with an idempotency key that had been used: keys are deleted like all else.
        """

    def scrub(self, *, up_to_bytes: int | None = None) -> bool:
        """Remove what was deleted from the database's own files; returns whether none of it is left.

        SQLite: rewrites the file and empties the write-ahead log where something was deleted since the last
        time; writers wait meanwhile, so a file over `up_to_bytes` is left as it is. PostgreSQL: does nothing
        and returns False.
        """

    def put_items(self, items: Sequence[Item]) -> int:
        """Add items or replace them, all or none; returns the version of the list afterwards.

        The version rises by 1 with each call that changes something. An item that is there already with the
        same body changes nothing.
        """

    def hide_items(self, ids: Sequence[str], *, hidden: bool) -> int:
        """Hide items, or show them again, all or none; returns the version of the list afterwards.

        An id may be any item's, one of `put_items` or not. The version rises as with `put_items`; ids that
        are hidden, or shown, already change nothing.
        """

    def items(self, *, since: int = 0) -> ItemChanges:
        """Return what changed of the items behind version `since`; 0 gives it all."""

    def add_api_key(self, key: ApiKey) -> None:
        """Keep a key.

        Raises:
            BadInputError: The name or the hash is there already, or something told cannot be.
        """

    def find_api_key(self, key_hash: str) -> ApiKey | None:
        """Return the key with this hash, revoked or not, or None."""

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Return all keys, revoked ones too, by name."""

    def revoke_api_key(self, name: str) -> ApiKey:
        """Mark a key as revoked, from now on, for good; returns it. One revoked before stays as it is.

        Raises:
            UnknownNameError: No key has that name.
        """

    def ping(self) -> None:
        """Ask the database for a sign of life; raises `DatabaseAwayError` where none comes."""

    def close(self) -> None:
        """Give back all connections."""

    def __enter__(self) -> Self:
        """Return the store."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the store."""


def evidence_after(evidence_hash: str, entry: Entry | Recorded) -> str:
    """Return the evidence hash of a log after one entry more.

    SHA-256 over the hash before (32 bytes), the length of the kind in bytes of UTF-8 (4 bytes, big-endian),
    the kind and the body.
    """
    kind = entry.kind.encode()
    told = bytes.fromhex(evidence_hash) + len(kind).to_bytes(4, "big") + kind + entry.body.encode()
    return sha256(told).hexdigest()
