"""From what a person types to an item: forgiving, and never guessing in silence."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.types import short_repr

_ARTICLES = "the|a|an|le|la|les|l'|il|lo|gli|i|der|die|das|el|los|las|un|une"
_YEAR = re.compile(r"\s*\((\d{4})\)\s*$")
_SLIP = 90.0
_SUGGESTED = 3

_Key = TypeVar("_Key", str, tuple[str, str])


@dataclass(frozen=True, kw_only=True, eq=False)
class TitleIndex:
    """Titles in the spellings that are looked up.

    Attributes:
        titles: As the data set spells them, (V,).
        popularity_V: Settles which of several items with the very same title is meant.
        keys: Plain form without the year, (V,).
        by_title, by_dated, by_key: Items by lower-case title, by plain form with the year, and without.
    """

    titles: tuple[str, ...]
    popularity_V: NDArray[np.float64]
    keys: tuple[str, ...]
    by_title: Mapping[str, tuple[int, ...]]
    by_dated: Mapping[tuple[str, str], tuple[int, ...]]
    by_key: Mapping[str, tuple[int, ...]]

    __repr__ = short_repr


def title_index(titles: Sequence[str], popularity_V: NDArray[np.float64]) -> TitleIndex:
    """Return the index of a catalogue's titles; untitled items cannot be found by title."""
    plain = [_plain(title) for title in titles]
    return TitleIndex(
        titles=tuple(titles),
        popularity_V=popularity_V,
        keys=tuple(key for key, _ in plain),
        by_title=_group([_squeezed(title) for title in titles]),
        by_dated=_group(plain),
        by_key=_group([key for key, _ in plain]),
    )


def find_title(index: TitleIndex, wanted: object) -> int:
    """Return the index of the item that a title means.

    In turn: the title itself in upper or lower case; the same words ("matrix, the" is "The Matrix") with
    the same year where one is given; a title that differs by a slip of the pen while no other is as near.
    Items that share the very same title are ordered by popularity.

    Raises:
        BadInputError: No text.
        UnknownNameError: No title, or more than one, is meant; names the nearest.
    """
    if not isinstance(wanted, str) or not _squeezed(wanted):
        raise BadInputError(field="title", value=wanted, remedy="Give a title.")
    key, year = _plain(wanted)
    stages = [index.by_title.get(_squeezed(wanted), ())]
    if key:
        stages.append(index.by_dated.get((key, year), ()) if year else index.by_key.get(key, ()))
    for found in stages:
        if found and len({index.titles[item] for item in found}) == 1:
            return max(found, key=lambda item: (index.popularity_V[item], -item))
        if found:
            raise _unsure(wanted, "Several titles fit", [index.titles[item] for item in found])
    near = process.extract(key, index.keys, scorer=fuzz.ratio, limit=_SUGGESTED + 5) if key else []
    slips = [item for _, score, item in near if score >= _SLIP and _same_numbers(key, index.keys[item])]
    same_year = [item for item in slips if not year or _plain(index.titles[item])[1] == year]
    if (
        len({index.titles[item] for item in same_year}) == 1
        and len({index.keys[item] for item in slips}) == 1
    ):
        return max(same_year, key=lambda item: (index.popularity_V[item], -item))
    nearest = process.extract(_squeezed(wanted), [title.lower() for title in index.titles],
                              scorer=fuzz.WRatio, limit=_SUGGESTED)  # fmt: skip
    suggested = [index.titles[item] for _, _, item in [*near[:2], *nearest] if index.titles[item]]
    raise _unsure(wanted, "The nearest titles are", list(dict.fromkeys(suggested))[: _SUGGESTED + 1])


def _unsure(wanted: str, why: str, titles: Sequence[str]) -> UnknownNameError:
    shown = f"{why}: {'; '.join(titles[:5])}." if titles else "No item has a title."
    return UnknownNameError(field="title", value=wanted, remedy=shown)


def _group(keys: Sequence[_Key]) -> dict[_Key, tuple[int, ...]]:
    groups: dict[_Key, list[int]] = {}
    for item, key in enumerate(keys):
        if any(key):
            groups.setdefault(key, []).append(item)
    return {key: tuple(items) for key, items in groups.items()}


def _squeezed(title: str) -> str:
    return " ".join(title.lower().split())


def _plain(title: str) -> tuple[str, str]:
    """Return (words, year): accents, marks and case gone, an article after a comma back in front."""
    dated = _YEAR.search(title)
    year = dated.group(1) if dated else ""
    text = _squeezed(_YEAR.sub("", title))
    moved = re.fullmatch(rf"(.*), ({_ARTICLES})", text)
    text = f"{moved.group(2)} {moved.group(1)}" if moved else text
    text = re.sub(rf"^({_ARTICLES})\s+(?=\S)", "", text)
    letters = unicodedata.normalize("NFKD", text.replace("&", " and "))
    bare = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(re.sub(r"[^\w]+", " ", bare.replace("'", "")).split()), year


def _same_numbers(one: str, other: str) -> bool:
    """Tell whether numbers agree: a part 2 is no slip of a part 1."""
    return re.findall(r"\d+", one) == re.findall(r"\d+", other)
