"""Checks of the store's inputs; invalid ones are refused by name, and nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from warmprompt.errors import BadInputError
from warmprompt.store.contract import (
    MAX_BODY_BYTES,
    MAX_ID_BYTES,
    MAX_STATE_BYTES,
    ApiKey,
    Entry,
    Item,
    StoredState,
)

_LARGEST = 2**63 - 1
Input = TypeVar("Input", Entry, Item)


def check_id(text: object, field: str) -> None:
    """Refuse an id that is empty, longer than 512 bytes, or text that a database cannot store."""
    _check_text(text, field, longest=MAX_ID_BYTES)
    if not text:
        raise BadInputError(field=field, value=text, remedy="It is empty; give at least one character.")


def check_item_ids(ids: Sequence[str]) -> None:
    """Refuse an empty list of item ids, and invalid ids in it."""
    given: object = ids
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise BadInputError(field="ids of items", value=ids, remedy="Give a list of at least one.")
    for index, one in enumerate(given):
        check_id(one, f"id of item {index}")


def check_entries(entries: Sequence[Entry]) -> None:
    """Refuse an empty list, and entries with an invalid kind or body."""
    for index, entry in enumerate(_listed(entries, Entry, "entries")):
        check_id(entry.kind, f"kind of entry {index}")
        _check_text(entry.body, f"body of entry {index}", longest=MAX_BODY_BYTES)


def check_items(items: Sequence[Item]) -> None:
    """Refuse an empty list, invalid items, and two with the same id."""
    seen: set[str] = set()
    for index, item in enumerate(_listed(items, Item, "items")):
        check_id(item.id, f"id of item {index}")
        _check_text(item.body, f"body of item {index}", longest=MAX_BODY_BYTES)
        if item.id in seen:
            raise BadInputError(
                field=f"id of item {index}", value=item.id, remedy="Give each item once in a call."
            )
        seen.add(item.id)


def check_state(state: StoredState) -> None:
    """Refuse a state with an invalid model, number, evidence hash or content."""
    check_id(state.model_hash, "model hash")
    check_number(state.seq, "seq of the state", least=1)
    _check_hash(state.evidence_hash)
    data: object = state.data
    if not isinstance(data, bytes):
        raise BadInputError(field="data of the state", value=type(data).__name__, remedy="Give bytes.")
    if len(data) > MAX_STATE_BYTES:
        raise BadInputError(
            field="data of the state",
            value=f"{len(data)} bytes",
            remedy=f"Give at most {MAX_STATE_BYTES}.",
        )


def check_api_key(key: ApiKey) -> None:
    """Refuse a key with an invalid name, hash, scope or time."""
    check_id(key.name, "name of the key")
    check_id(key.key_hash, "hash of the key")
    check_number(key.created_s, "creation of the key")
    if key.revoked_s is not None:
        check_number(key.revoked_s, "revocation of the key")
    for scope in sorted(key.scopes):
        check_id(scope, "scope of the key")
        if scope != "".join(scope.split()):
            raise BadInputError(field="scope of the key", value=scope, remedy="Give one word.")


def check_number(number: object, field: str, *, least: int = 0) -> None:
    """Refuse anything but a whole number from `least` to 2^63 - 1."""
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= _LARGEST:
        raise BadInputError(field=field, value=number, remedy=f"Give a whole number of at least {least}.")


def _check_hash(text: object) -> None:
    good = isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
    if not good:
        raise BadInputError(
            field="evidence hash", value=text, remedy="Give the 64 hexadecimal digits the store gave."
        )


def _check_text(text: object, field: str, *, longest: int) -> None:
    if not isinstance(text, str):
        raise BadInputError(field=field, value=text, remedy="Give text.")
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        raise BadInputError(
            field=field, value=ascii(text), remedy="It holds half a character; give valid Unicode."
        ) from None
    if length > longest:
        raise BadInputError(field=field, value=f"{length} bytes", remedy=f"Give at most {longest}.")
    if "\0" in text:
        raise BadInputError(field=field, value=ascii(text), remedy="Give text without NUL characters.")


def _listed(inputs: Sequence[Input], kind: type[Input], field: str) -> Sequence[Input]:
    given: object = inputs
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        raise BadInputError(field=field, value=inputs, remedy="Give a list of at least one.")
    for index, one in enumerate(given):
        if not isinstance(one, kind):
            raise BadInputError(
                field=f"{field}, position {index}", value=one, remedy=f"Give store.contract.{kind.__name__}."
            )
    return inputs
