"""Added items as the store keeps them."""

from __future__ import annotations

import json

from warmprompt.service.model.catalogue import NewItem
from warmprompt.store.contract import Item


def row_of(item: NewItem) -> Item:
    """Return an item as the store keeps it; a number and a text that look alike get different ids."""
    body = {"id": item.id, "text": item.text, "title": item.title}
    return Item(id=json.dumps(item.id), body=json.dumps(body, sort_keys=True, separators=(",", ":")))


def item_of(row: Item) -> NewItem:
    """Return an item that `row_of` wrote."""
    body = json.loads(row.body)
    return NewItem(id=body["id"], title=body["title"], text=body["text"])
