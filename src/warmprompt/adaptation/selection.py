"""Which items a ranking may hold: the candidates, less what is excluded, filtered out or hidden.

V is items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.adaptation.events import unknown_item
from warmprompt.data.attributes import Filter, ItemAttributes
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import ItemId

Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What a caller wants to see; the default is every item.

    Attributes:
        candidates: Only these items, or None.
        exclude: None of these items.
        filter: Only items with these attributes, or None; see `data.attributes`.
    """

    candidates: Sequence[ItemId] | None = None
    exclude: Sequence[ItemId] | None = None
    filter: Filter | None = None

    def mask(
        self, index: Mapping[ItemId, int], attributes: ItemAttributes | None, hidden: Collection[ItemId]
    ) -> Mask | None:
        """Return which items may be ranked, (V,), or None where all may.

        Args:
            index: Item id to position.
            attributes: Of the items; None where the run holds none.
            hidden: Items of the index that are in no ranking.

        Raises:
            UnknownNameError: An item, an attribute or a value of one that the catalogue does not have.
            BadInputError: Something else is wrong with the lists or the filter.
        """
        mask: Mask | None = None
        if self.candidates is not None:
            mask = np.zeros(len(index), dtype=np.bool_)
            mask[places_of(self.candidates, index, field="candidate")] = True
        if self.filter is not None:
            passing = filter_mask(self.filter, attributes)
            mask = passing.copy() if mask is None else mask & passing
        left_out = [] if self.exclude is None else places_of(self.exclude, index, field="excluded item")
        left_out += [index[item] for item in hidden]
        if left_out:
            mask = np.ones(len(index), dtype=np.bool_) if mask is None else mask
            mask[left_out] = False
        return mask


def filter_mask(wanted: Filter, attributes: ItemAttributes | None) -> Mask:
    """Return which items pass a filter, (V,).

    Raises:
        UnknownNameError, BadInputError: As `ItemAttributes.mask`; also where the run holds no attributes.
    """
    if attributes is None or not attributes.names:
        remedy = "The run holds no item attributes: name them at import, and train again."
        raise UnknownNameError(field="filter", value=", ".join(map(str, wanted)), remedy=remedy)
    return attributes.mask(wanted)


def places_of(items: Sequence[ItemId], index: Mapping[ItemId, int], *, field: str) -> list[int]:
    """Return the positions of items.

    Raises:
        BadInputError: They are no list.
        UnknownNameError: One is not in the catalogue.
    """
    if isinstance(items, str | bytes | int):
        raise BadInputError(field=f"{field}s", value=items, remedy="Give a list of item ids.")
    places = []
    for one in items:
        item: object = one.item() if isinstance(one, np.generic) else one
        if isinstance(item, bool) or not isinstance(item, str | int) or item not in index:
            raise unknown_item(item, index, field=field)
        places.append(index[item])
    return places


def known_item(told: ItemId, index: Mapping[ItemId, int]) -> ItemId | None:
    """Return the item that is meant where numbers and texts cannot be told apart, or None.

    The id as it is comes first; then the number that a text writes, or the text that a number is written as.
    """
    if told in index:
        return told
    other: ItemId = str(told)
    if isinstance(told, str):
        other = number if (number := written_number(told)) is not None else told
    return other if other in index else None


def written_number(text: str) -> int | None:
    """Return the whole number of any size that a text writes in the one plain way, or None."""
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return int(text) if plain and (digits[0] != "0" or text == "0") else None


_MOST_DIGITS = 128
