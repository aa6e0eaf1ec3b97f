"""Interface of a store, and its values.

Each user has a log of entries, numbered 1, 2, 3 ... without gaps, that is only ever appended to. Events and
profiles are entries. Everything else, above all the user's state, can be derived from the log again. Bodies
and
states are opaque here: the store handles bytes, text and versions, never a model.

The evidence hash after entry n is SHA-256(hash after entry n - 1, kind, body), so it identifies the first n
entries of a log. Two logs with the same hash have the same entries, and a state with the hash is exactly
traceable to its entries.

Every method may be called from several threads, and several processes may share one database. Whatever a
method wrote is on the disk when it returns. Any method raises `DatabaseAwayError` while the database cannot
be reached; the next call tries again, and nothing has to be reopened. A call that failed in this way may have
been
carried out: repeat an append with the same idempotency key, and it counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

MAX_ID_BYTES = 512
"""Longest user id, item id, idempotency key, kind, model hash or key name, in bytes of UTF-8."""

MAX_BODY_BYTES = 65_536
"""Longest body of an entry or item, in bytes of UTF-8."""

MAX_STATE_BYTES = 16_777_216
"""Longest state."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry to append to a user's log.

    Attributes:
        kind: Such as "event" or "profile"; 1 to 512 bytes.
        body: JSON text of at most 65,536 bytes, stored unchanged and never parsed here.
    """

    kind: str
    body: str


@dataclass(frozen=True, kw_only=True)
class StoredEntry:
    """An entry in a user's log.

    Attributes:
        seq: Its number in the log, from 1.
        kind: As appended.
        body: As appended.
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
    """Result of an append.

    Attributes:
        first_seq: Number of the first appended entry.
        last_seq: Number of the last one.
        evidence_hash: Of the log up to and with `last_seq`.
        repeated: The idempotency key had been used with the same entries. Nothing was written this time, and
            the other fields are those of the first time.
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
        model_hash: Of the model that made it; no other can use it.
        seq: How many entries it was made from, at least 1.
        evidence_hash: Of these entries.
        data: The state as bytes, at most 16 MiB.
    """

    model_hash: str
    seq: int
    evidence_hash: str
    data: bytes


class Put(StrEnum):
    """Result of putting a state."""

    STORED = "stored"
    """It is the user's state of that model now."""

    KEPT = "kept"
    """The stored state of the model was made from as many entries or more, and was kept."""

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
class StatesProgress:
    """How many states of a model are up to date.

    Attributes:
        users: Users in the store.
        current: Those whose state of this model was made from their whole log.
    """

    users: int
    current: int


@dataclass(frozen=True, kw_only=True)
class Export:
    """Everything stored about one user.

    Attributes:
        user: The user's id.
        first_seen_s: When the user's first entry was recorded, seconds since 1970.
        entries: The whole log.
        idempotency_keys: Each with the numbers of its first and last entry.
        states: One for each model that has one.
    """

    user: str
    first_seen_s: int
    entries: tuple[StoredEntry, ...]
    idempotency_keys: tuple[tuple[str, int, int], ...]
    states: tuple[StoredState, ...]


@dataclass(frozen=True, kw_only=True)
class Deleted:
    """Numbers of a user's deleted rows; all zero for an unknown user.

    Attributes:
        entries: Entries of the log.
        states: States.
        idempotency_keys: Idempotency keys.
        scrubbed: No byte of them is left in the database's own files. False if that is left to `scrub`: in a
            large SQLite file, or while another process still reads a snapshot from before the deletion.
            Always false on PostgreSQL, where bytes stay in free space until the server reuses it.
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
    """A client's key; the store never has the key itself.

    Attributes:
        name: Unique.
        key_hash: A hash of the key, as text; unique.
        scopes: Such as {"read", "write"}.
        created_s: Seconds since 1970.
        revoked_s: When it was revoked, or None.
    """

    name: str
    key_hash: str
    scopes: frozenset[str]
    created_s: int
    revoked_s: int | None = None


class Store(Protocol):
    """Users' logs and states, items added at run time, and API keys; open one with `open_store`."""

    def append(
        self,
        user: str,
        entries: Sequence[Entry],
        *,
        idempotency_key: str | None = None,
        longest: int | None = None,
    ) -> Appended:
        """Append entries to a user's log, all or none; the first ones create the user.

        Appends to one user follow one another, whichever process they come from. So numbers have no gaps, and
        the entries of one call are adjacent.

        Args:
            user: The user's id, 1 to 512 bytes of UTF-8 without NUL.
            entries: At least one.
            idempotency_key: Identifies this append among the user's. Repeated with the same entries it
                returns the first result and writes nothing. It is stored as long as the user is.
            longest: Entries that the log may have; None for any number.

        Raises:
            BadInputError: An invalid argument; names it. The log would become too long.
            MismatchError: The key was used with other entries.
            DatabaseAwayError: See above.
        """

    def entries(self, user: str, *, after: int = 0, limit: int | None = None) -> tuple[StoredEntry, ...]:
        """Return a user's entries after number `after`, oldest first, at most `limit`; () for unknown users.

        Entries appended meanwhile may be included, but never a later one without the earlier ones.
        """

    def head(self, user: str) -> Head | None:
        """Return the end of a user's log, or None; the cheapest check for new entries."""

    def heads(self, users: Sequence[str]) -> tuple[Head, ...]:
        """Return the ends of several users' logs in one query, in no order; unknown users are left out."""

    def users(self, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of users.

        Following `Page.next` from 0 gives every user once who existed at the start and is not deleted.
        """

    def get_state(self, user: str, model_hash: str) -> StoredState | None:
        """Return a model's state of a user, or None.

        It may be behind the log: compare its `seq` with that of `head`.
        """

    def put_state(self, user: str, state: StoredState) -> Put:
        """Store a state, unless the model's stored state was made from as many entries or more.

        Each model has its own state of a user, so two models in use at once, as in a rollout, do not affect
        each other. The evidence hash must be that of the log at `state.seq`.

        Raises:
            BadInputError: An invalid argument; names it.
        """

    def put_states(self, given: Mapping[str, StoredState]) -> None:
        """Store states of several users in one transaction, without those that `put_state` refuses.

        Raises:
            BadInputError: An invalid argument; names it.
        """

    def behind(self, model_hash: str, *, after: int = 0, limit: int = 1000) -> Page:
        """Return a page of the users whose state of a model is missing or behind their log."""

    def progress(self, model_hash: str) -> StatesProgress:
        """Count the users, and those whose state of a model is current; reads one row per user."""

    def drop_states(self, *, keep: Iterable[str], limit: int = 1000) -> int:
        """Delete up to `limit` states of models other than those named; returns how many there were."""

    def export(self, user: str) -> Export | None:
        """Return everything stored about a user at one moment, None for an unknown user."""

    def delete(self, user: str) -> Deleted:
        """Delete everything stored about a user; see `Deleted.scrubbed` for the files.

        A state that is put afterwards, but was made before, is refused. A later append starts a new log, also
        with an idempotency key that had been used, because keys are deleted too.
        """

    def scrub(self, *, up_to_bytes: int | None = None) -> bool:
        """Remove deleted bytes from the database's own files; returns whether none are left.

        SQLite: rewrites the file and empties the write-ahead log if something was deleted since the last
            time.
        Writers wait meanwhile, so a file over `up_to_bytes` is left as it is. PostgreSQL: does nothing and
        returns False.
        """

    def put_items(self, items: Sequence[Item]) -> int:
        """Add items or replace them, all or none; returns the version of the list afterwards.

        The version rises by 1 with each call that changes something. An item that exists with the same body
        changes nothing.
        """

    def hide_items(self, ids: Sequence[str], *, hidden: bool) -> int:
        """Hide items, or show them again, all or none; returns the version of the list afterwards.

        Any item's id may be given, also one that `put_items` never added. The version rises as with
        `put_items`; ids that are hidden, or shown, already change nothing.
        """

    def items(self, *, since: int = 0) -> ItemChanges:
        """Return the changes of items after version `since`; 0 gives all."""

    def add_api_key(self, key: ApiKey) -> None:
        """Store a key.

        Raises:
            BadInputError: The name or the hash is in use, or an argument is invalid.
        """

    def find_api_key(self, key_hash: str) -> ApiKey | None:
        """Return the key with this hash, revoked or not, or None."""

    def api_keys(self) -> tuple[ApiKey, ...]:
        """Return all keys, revoked ones too, by name."""

    def revoke_api_key(self, name: str) -> ApiKey:
        """Revoke a key for good, from now on; returns it. A key revoked before stays as it is.

        Raises:
            UnknownNameError: No key has that name.
        """

    def ping(self) -> None:
        """Check that the database answers, and after a write that the disk refused, that it writes again.

        Raises:
            DatabaseAwayError: It does not answer, or its file is not the one that was opened.
            StorageError: The disk is full, or may not be written.
            IntegrityError: It is damaged, or its tables are gone.
        """

    def close(self) -> None:
        """Close all connections."""

    def __enter__(self) -> Self:
        """Return the store."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close the store."""
