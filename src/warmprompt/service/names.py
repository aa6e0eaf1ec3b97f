"""Under which names the store keeps users and entities, so that neither is ever taken for the other.

A user's log is kept under the user's id as it is; an entity's under `ENTITY_PREFIX` and its id. The prefix
begins and ends with U+001F, and a user id that begins with it is refused.
"""

from __future__ import annotations

from warmprompt.store.contract import MAX_ID_BYTES

ENTITY_PREFIX = "\x1fentity\x1f"
MAX_ENTITY_BYTES = MAX_ID_BYTES - len(ENTITY_PREFIX.encode())


def name_of_entity(entity: str) -> str:
    """Return what the store knows an entity by."""
    return ENTITY_PREFIX + entity


def is_entity(name: str) -> bool:
    """Tell whether a name in the store is that of an entity."""
    return name.startswith(ENTITY_PREFIX)
