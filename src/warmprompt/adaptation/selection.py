"""Which items a ranking may hold: the candidates, less what is excluded, filtered out or hidden.

V is items.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warmprompt.adaptation.events import unknown_item
from warmprompt.adaptation.rankings import Ranking
from warmprompt.data.attributes import Filter, ItemAttributes
from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.runs.format import Trained
from warmprompt.scoring.ranking import top_n
from warmprompt.types import Floats, ItemId, Support

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
            mask[positions_of(self.candidates, index, field="candidate")] = True
        if self.filter is not None:
            passing = filter_mask(self.filter, attributes)
            mask = passing.copy() if mask is None else mask & passing
        left_out = [] if self.exclude is None else positions_of(self.exclude, index, field="excluded item")
        left_out += [index[item] for item in hidden]
        if left_out:
            mask = np.ones(len(index), dtype=np.bool_) if mask is None else mask
            mask[left_out] = False
        return mask


def top_items(
    trained: Trained, scores_BV: Floats, supports: Sequence[Support], n: int, mask: Mask | None
) -> list[Ranking]:
    """Return each user's best items less those of the user's own events.

    Args:
        trained: Of the catalogue.
        scores_BV: Scores.
        supports: The users' events.
        n: Places for each.
        mask: Items that may be ranked, (V,), or None for all.
    """
    best_BN = top_n(scores_BV, n, excluded=[support.items_K for support in supports], candidates=mask)
    rankings = []
    for best_N, scores_V in zip(best_BN, scores_BV, strict=True):
        found = best_N[best_N >= 0]
        best = found.tolist()
        items, titles = ([names[item] for item in best] for names in (trained.item_ids, trained.titles))
        scores = scores_V[found].tolist()
        rankings.append(Ranking(items=tuple(items), titles=tuple(titles), scores=tuple(scores)))
    return rankings


def check_count(n: object) -> None:
    """Refuse a number of items that is no whole number of at least 1."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise BadInputError(field="n", value=n, remedy="Ask for a whole number of items, at least 1.")


def filter_mask(wanted: Filter, attributes: ItemAttributes | None) -> Mask:
    """Return which items pass a filter, (V,).

    Raises:
        UnknownNameError, BadInputError: As `ItemAttributes.mask`; also where the run holds no attributes.
    """
    if attributes is None or not attributes.names:
        remedy = "The run holds no item attributes: name them at import, and train again."
        raise UnknownNameError(field="filter", value=", ".join(map(str, wanted)), remedy=remedy)
    return attributes.mask(wanted)


def positions_of(items: Sequence[ItemId], index: Mapping[ItemId, int], *, field: str) -> list[int]:
    """Return the positions of items.

    Raises:
        BadInputError: They are no list.
        UnknownNameError: One is not in the catalogue.
    """
    if isinstance(items, str | bytes | int):
        raise BadInputError(field=f"{field}s", value=items, remedy="Give a list of item ids.")
    indices = []
    for one in items:
        item: object = one.item() if isinstance(one, np.generic) else one
        if isinstance(item, bool) or not isinstance(item, str | int) or item not in index:
            raise unknown_item(item, index, field=field)
        indices.append(index[item])
    return indices


def known_item(given: object, index: Mapping[ItemId, int]) -> ItemId | None:
    """Return the item that is meant where numbers and texts cannot be distinguished, or None.

    The id as it is comes first; then the number that a text writes, or the text that a number is written as.
    """
    if isinstance(given, bool) or not isinstance(given, str | int):
        return None
    other = written_number(given) if isinstance(given, str) else str(given)
    return next((item for item in (given, other) if item is not None and item in index), None)


def written_number(text: str) -> int | None:
    """Return the whole number of any size that a text writes in the one plain way, or None."""
    digits = text.removeprefix("-")
    plain = digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS
    return int(text) if plain and (digits[0] != "0" or text == "0") else None


_MOST_DIGITS = 128
