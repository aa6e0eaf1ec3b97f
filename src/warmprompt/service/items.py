"""Items in the store's form: added items, and the ids of hidden ones."""

from __future__ import annotations

import json
from typing import Any

from warmprompt.service.model.catalogue import NewItem
from warmprompt.store.contract import Item
from warmprompt.types import ItemId


def stored_item(item: NewItem) -> Item:
    """Return an item in the store's form; a number and a text with the same digits get different ids."""
    body: dict[str, Any] = {"id": item.id, "text": item.text, "title": item.title}
    body |= {"attributes": dict(item.attributes)} if item.attributes else {}
    return Item(id=key_of(item.id), body=json.dumps(body, sort_keys=True, separators=(",", ":")))


def item_of(row: Item) -> NewItem:
    """Return an item that `stored_item` wrote."""
    body = json.loads(row.body)
    attributes = body.get("attributes", {})
    return NewItem(id=body["id"], title=body["title"], text=body["text"], attributes=attributes)


def key_of(item: ItemId) -> str:
    """Return the store's id of an item, also of a run's own item."""
    return json.dumps(item)


def id_of(key: str) -> ItemId:
    """Return the id that `key_of` wrote."""
    found: ItemId = json.loads(key)
    return found
