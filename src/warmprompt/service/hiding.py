"""The catalogue of a service, from its store and its run's folder, without loading a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from warmprompt.adaptation.selection import known_item
from warmprompt.adaptation.titles import TitleIndex, find_title, title_index
from warmprompt.runs.format import load_trained
from warmprompt.service.items import id_of, item_of, key_of
from warmprompt.store.contract import Store
from warmprompt.types import ItemId


@dataclass(frozen=True, kw_only=True, eq=False)
class ServedCatalogue:
    """The items of a run and those added since; make it with `open_catalogue`.

    Attributes:
        store: Of the service.
        items: Their ids.
        index: Item id to position.
        lookup: Titles to items.
    """

    store: Store
    items: tuple[ItemId, ...]
    index: dict[ItemId, int]
    lookup: TitleIndex

    def find(self, title: str) -> ItemId:
        """Return the item with a title, or an item without a title by its id.

        Raises:
            UnknownNameError: No item or several; names the nearest titles.
        """
        item = known_item(title, self.index)
        return (
            item if item is not None and not self.title(item) else self.items[find_title(self.lookup, title)]
        )

    def title(self, item: ItemId) -> str:
        """Return an item's title."""
        return self.lookup.titles[self.index[item]]

    def hide(self, items: Sequence[ItemId], *, hidden: bool) -> None:
        """Hide items, or show them again.

        Raises:
            DatabaseAwayError: The database cannot be reached.
        """
        self.store.hide_items([key_of(item) for item in items], hidden=hidden)

    def hidden(self) -> list[tuple[ItemId, str]]:
        """Return the hidden items and their titles, "" for items that the run does not have."""
        found = [id_of(key) for key in self.store.items().hidden]
        return [(item, self.title(item) if item in self.index else "") for item in found]


def open_catalogue(folder: Path, store: Store) -> ServedCatalogue:
    """Return the catalogue of a run with the items that were added to a store.

    Raises:
        WarmpromptError: There is no run, it is damaged, or the database cannot be reached.
    """
    trained = load_trained(folder)
    known = set(trained.item_ids)
    added = [item for item in map(item_of, store.items().items) if item.id not in known]
    items = (*trained.item_ids, *(item.id for item in added))
    titles = (*trained.titles, *(item.title for item in added))
    popularity_V = np.zeros(len(items))
    popularity_V[: len(trained.item_ids)] = trained.data.log_popularity_V.cpu().numpy()
    index = {item: index for index, item in enumerate(items)}
    return ServedCatalogue(store=store, items=items, index=index, lookup=title_index(titles, popularity_V))
