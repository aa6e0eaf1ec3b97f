"""What may be said: titles, genres and popularity of the catalogue, and what counts as a reason for an item.

V is items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

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
# Verbs and things of every sentence about tastes, which lists of stop words do not hold.
_OF_ANY_TASTE = frozenset(
    re.findall(
        r"\w+",
        """
        adore did does dislike enjoy enjoyed enjoys fan favourite favourites favorite favorites film films
        good great hate just like liked likes lot lots love loved loves movie movies our person prefer really
        recommend thing things want watch watched watching
        """,
    )
)
# "don't" and "it's" are the part before the apostrophe.
_CONTRACTED = re.compile(r"(n['\u2019]t|['\u2019]\w{1,2})$")


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """What the catalogue holds about its items.

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
        words: Words with a positive effect, each once, in lower case; never stop words, nor words such as
            "love" and "films", which say nothing about taste by themselves.
        attributes: Attributes with a positive effect.
    """

    events: tuple[EventEffect, ...]
    words: tuple[str, ...]
    attributes: tuple[WordEffect, ...]

    def __bool__(self) -> bool:
        """Whether anything that was given raised the item."""
        return bool(self.events or self.words or self.attributes)


def catalogue_facts(model: Personaliser, dataset: Dataset | None = None) -> Facts:
    """Return the facts of a run's catalogue.

    Args:
        model: Gives items and popularity.
        dataset: That the run was trained on, for genres; without it none are known, nor of later items.

    Raises:
        MismatchError: The data set holds other items than the run was trained with.
    """
    constants = model.engine.trained.data
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
            table.names[index]
            for index in np.flatnonzero(has_G)
            if table.names[index].lower() not in _UNSAID_GENRES
        )
        for item, has_G in zip(dataset.item_ids, table.has_VG, strict=True)
    }
    return Facts(genres=dict.fromkeys(model.items, ()) | genres, popular=popular)


def reasons_of(events: Sequence[EventEffect], words: Sequence[WordEffect]) -> Reasons:
    """Return what raised an item, by at least `NAMED_SHARE` of what the strongest reason did."""
    nameable = nameable_words(words)
    largest = max([one.effect for one in events] + [one.effect for one in nameable], default=0.0)
    least = max(LEAST_EFFECT, NAMED_SHARE * largest)
    raising = [one for one in nameable if one.effect >= least]
    said = tuple(dict.fromkeys(one.text.lower() for one in raising if one.kind == "word"))
    named = tuple(one for one in events if one.effect >= least)[:NUM_NAMED]
    attributes = tuple(one for one in raising if one.kind == "attribute")[:NUM_NAMED]
    return Reasons(events=named, words=said[:NUM_NAMED], attributes=attributes)


def strongest_of(events: Sequence[EventEffect], words: Sequence[WordEffect]) -> str | None:
    """Return the title, word in lower case or attribute that raised an item most, or None if nothing did."""
    effects = [(one.effect, one.title) for one in events]
    effects += [
        (one.effect, one.text.lower() if one.kind == "word" else one.text) for one in nameable_words(words)
    ]
    effect, text = max(effects, key=lambda pair: pair[0], default=(0.0, ""))
    return text if effect >= LEAST_EFFECT else None


def nameable_words(words: Sequence[WordEffect]) -> tuple[WordEffect, ...]:
    """Return the attributes, and the words that may be a reason."""
    return tuple(one for one in words if one.kind == "attribute" or says_something(one.text))


def says_something(word: str) -> bool:
    """Tell whether a word may be a reason: three letters in a row, and no stop word of English."""
    plain = _CONTRACTED.sub("", word.lower())
    return re.search(r"[^\W\d_]{3}", plain) is not None and plain not in _stop_words() | _OF_ANY_TASTE


@cache
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return frozenset(ENGLISH_STOP_WORDS)
