"""Ends of users' logs, asked for many users in one query.

Where several processes share a database, every ranking from memory needs the end of its user's log first. A
question that arrives while others are under way shares the next query. No answer comes from a query that
began before the question arrived, so a request sees whatever was acknowledged before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from warmprompt.coalescing import Coalescer
from warmprompt.store.contract import Head

_LARGEST = 256
_NUM_QUERIES = 2


def log_heads(
    find: Callable[[Sequence[str]], Awaitable[Sequence[Head]]], *, limit: int
) -> Coalescer[str, Head | None]:
    """Return what `shared(user)` asks for the end of a user's log; None for an unknown user.

    Args:
        find: Asks the store, off the event loop; returns the heads of the users that it has.
        limit: Users that may wait.
    """

    async def run(users: Sequence[str]) -> list[Head | None]:
        heads = {head.user: head for head in await find(users)}
        return [heads.get(user) for user in users]

    return Coalescer(run, name="queue of the database", largest=_LARGEST, limit=limit, num_tasks=_NUM_QUERIES)
