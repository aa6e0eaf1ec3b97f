"""What may be said: titles, genres and popularity of the catalogue, and what counts as a reason for an item.

V is items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from warmprompt.adaptation.explain import EventEffect, WordEffect
from warmprompt.adaptation.personaliser import Personaliser
from warmprompt.data.dataset import Dataset
from warmprompt.data.verbalise import genre_table
from warmprompt.errors import MismatchError
from warmprompt.types import ItemId, short_repr

LEAST_EFFECT = 1e-3
"""Effects below are no reasons: batches add float32 numbers in another order, worth up to some 1e-4."""
NAMED_SHARE = 0.25
"""A reason carries at least this share of what the strongest one does."""
POPULAR_SHARE = 0.9
"""An item is popular when its training events reach this quantile of the items that have any."""
NUM_NAMED = 3

_UNSAID_GENRES = {"", "unknown", "(no genres listed)", "none", "other"}
# Words that say nothing about taste by themselves; a reason never rests on one of them.
_EMPTY_WORDS = frozenset(
    re.findall(
        r"\w+",
        """
        a about all also am an and any are as at be because been but by do does for from give good
        great had has have he her him his how i if in into is it its just lot lots love loves like
        likes liked loved really me more most much my of on one or our out own person she so some
        such than that the their them then there these they this those to too us very was watch
        watched we were what when where which who why will with without would you your enjoy enjoys
        adore want prefer favourite favorite films film movies movie not never no dislike hate
        """,
    )
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What the catalogue says about its items.

    Attributes:
        genres: Genres (or categories) by item; empty where nothing is known.
        popular: Items that many training users chose.
    """

    genres: dict[ItemId, tuple[str, ...]]
    popular: frozenset[ItemId]

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True)
class Reasons:
    """What raised an item and may be named, the strongest first; at most `NUM_NAMED` of a kind.

    Attributes:
        events: Events with a positive effect.
        words: Words with a positive effect, each once, in lower case; words such as "love" and "films", which
            say nothing about taste by themselves, only where there is no other reason of any kind.
        attributes: Attributes with a positive effect.
    """

    events: tuple[EventEffect, ...]
    words: tuple[str, ...]
    attributes: tuple[WordEffect, ...]

    def __bool__(self) -> bool:
        """Whether anything told raised the item."""
        return bool(self.events or self.words or self.attributes)


def catalogue_facts(model: Personaliser, dataset: Dataset | None = None) -> Facts:
    """Return the facts of a run's catalogue.

    Args:
        model: Gives items and popularity.
        dataset: That the run was trained on, for genres; without it none are known, nor of later items.

    Raises:
        MismatchError: The data set holds other items than the run was trained with.
    """
    constants = model.engine.trained.constants
    counts_V = constants.log_popularity_V.cpu().numpy()
    warm_V = constants.warm_V.cpu().numpy() > 0
    least = np.quantile(counts_V[warm_V], POPULAR_SHARE) if warm_V.any() else np.inf
    popular = frozenset(
        item for item, many in zip(model.items, warm_V & (counts_V >= least), strict=True) if many
    )
    if dataset is None:
        return Facts(genres=dict.fromkeys(model.items, ()), popular=popular)
    if dataset.item_ids != model.items[: len(dataset.item_ids)]:
        raise MismatchError(
            field="data set",
            value=dataset.name,
            remedy="It holds other items than the run; give the one that the run was trained on.",
        )
    table = genre_table(dataset)
    genres = {
        item: tuple(
            table.names[place]
            for place in np.flatnonzero(has_G)
            if table.names[place].lower() not in _UNSAID_GENRES
        )
        for item, has_G in zip(dataset.item_ids, table.has_VG, strict=True)
    }
    return Facts(genres=dict.fromkeys(model.items, ()) | genres, popular=popular)


def reasons_of(events: Sequence[EventEffect], words: Sequence[WordEffect]) -> Reasons:
    """Return what raised an item, by at least `NAMED_SHARE` of what the strongest reason did."""
    largest = max([one.effect for one in events] + [one.effect for one in words], default=0.0)
    least = max(LEAST_EFFECT, NAMED_SHARE * largest)
    raising = [one for one in words if one.effect >= least]
    said = list(dict.fromkeys(one.text.lower() for one in raising if one.kind == "word"))
    telling = [word for word in said if _says_something(word)]
    named = tuple(one for one in events if one.effect >= least)[:NUM_NAMED]
    attributes = tuple(one for one in raising if one.kind == "attribute")[:NUM_NAMED]
    said = telling if telling or named or attributes else said
    return Reasons(events=named, words=tuple(said[:NUM_NAMED]), attributes=attributes)


def _says_something(word: str) -> bool:
    return word not in _EMPTY_WORDS and re.search(r"[^\W\d_]{3}", word) is not None
