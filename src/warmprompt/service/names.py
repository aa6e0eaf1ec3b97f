"""Names of users and entities in the store, which are never equal.

A user's log is stored under the user's id; an entity's under `ENTITY_PREFIX` and its id. The prefix
begins and ends with U+001F, and a user id that begins with it is refused.
"""

from __future__ import annotations

from warmprompt.store.contract import MAX_ID_BYTES

ENTITY_PREFIX = "\x1fentity\x1f"
MAX_ENTITY_BYTES = MAX_ID_BYTES - len(ENTITY_PREFIX.encode())


def name_of_entity(entity: str) -> str:
    """Return the name of an entity in the store."""
    return ENTITY_PREFIX + entity


def is_entity(name: str) -> bool:
    """Return whether a name in the store is that of an entity."""
    return name.startswith(ENTITY_PREFIX)
