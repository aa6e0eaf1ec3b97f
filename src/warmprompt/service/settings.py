"""How the service is run; every value is an option of `warmprompt serve`."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_PLACES = 200
"""Longest ranking or list of items."""
MAX_EXPLAINED = 10
"""Longest ranking with explanations."""


TEXT_PRICE = 10
"""Requests that a text costs in the rate limit: reading it takes about ten times an event and a ranking."""


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """How users' texts are gathered into batches.

    Attributes:
        largest: Texts in a batch.
        window_s: How long the first text after a pause waits for others.
        queue: Texts that may wait.
    """

    largest: int = 8
    window_s: float = 0.003
    queue: int = 64


@dataclass(frozen=True, kw_only=True)
class RequestLimits:
    """What a client may ask for.

    Attributes:
        body_bytes: Longest request body.
        per_s: Requests a second of one key, or of one address without a key; 0 does not count them.
        burst: Requests at once after a pause.
        log_entries: Longest log of one user; further entries are refused.
    """

    body_bytes: int = 262_144
    per_s: float = 100.0
    burst: int = 200
    log_entries: int = 10_000


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """How the service behaves.

    Attributes:
        budget_s: How long a request waits for new texts to be read, unless it names its own budget.
        batch: How texts are gathered.
        limits: What a client may ask for.
        explanations: Requests for explanations, and for their sentences, that may wait at once.
        cached_users: Users kept in memory at most.
        cached_idle_s: A user not requested for this long leaves memory.
        store_threads: Threads that talk to the database.
        store_queue: Calls to the database that may be open at once; beyond it is 503.
        shared: Other processes write to the same store, so each answer looks for new entries first.
        room: Items that may be added while the service runs.
        scrub_up_to_bytes: A SQLite file of up to this size is rewritten soon after a deletion; a larger one,
            for which writers would wait too long, when an operator asks.
        backfill: Whether states that are behind are backfilled while no request waits.
    """

    budget_s: float = 10.0
    batch: BatchLimits = field(default_factory=BatchLimits)
    limits: RequestLimits = field(default_factory=RequestLimits)
    explanations: int = 8
    cached_users: int = 20_000
    cached_idle_s: float = 3600.0
    store_threads: int = 8
    store_queue: int = 256
    shared: bool = False
    room: int = 1024
    scrub_up_to_bytes: int = 268_435_456
    backfill: bool = True
