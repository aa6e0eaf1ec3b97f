"""Whether a sentence is true: it is read back claim by claim, and each claim is looked up.

Whoever wrote the sentence is not trusted. What this reader does not understand it does not believe: a word
too many makes a claim that does not hold.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from warmprompt.adaptation.explain import Attribution, EventEffect, WordEffect
from warmprompt.generation.facts import LEAST_EFFECT, NAMED_SHARE, Facts, nameable_words

_LIKED_FROM, _DISLIKED_BELOW = 0.75, 0.25
_Q = r"“([^“”]*)”"
_QS = rf"(?:{_Q})(?: and {_Q})?"
# No title has a closing quotation mark in it.
_TAIL = re.compile(r"(?<=[”\dr]); (?=it is filed|like “)")
_GENRES = r"(.+)(?=\.$)"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One claim of a sentence.

    Attributes:
        text: In the sentence's words.
        holds: Whether the facts say so too.
    """

    text: str
    holds: bool


def claims_of(
    sentence: str, attribution: Attribution, facts: Facts, scale: tuple[float, float] | None
) -> tuple[Claim, ...]:
    """Return every claim of a sentence about one item; it is true when all of them hold.

    A sentence that leaves out what raised the item most has one more claim, which does not hold.

    Args:
        sentence: From whoever wrote it.
        attribution: What carried the item.
        facts: Of the catalogue.
        scale: The rating scale, or None.
    """
    known = _Known(attribution=attribution, facts=facts, scale=scale)
    unsaid = [Claim(text=f"{one} did most", holds=False) for one in known.unsaid(sentence)]
    return (*_read(sentence, known), *unsaid)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Facts of the catalogue and of one user, as claims ask for them."""

    attribution: Attribution
    facts: Facts
    scale: tuple[float, float] | None

    @property
    def least(self) -> float:
        """What an effect must reach to be called a reason."""
        largest = max((one.effect for one in self.given), default=0.0)
        return max(LEAST_EFFECT, NAMED_SHARE * largest)

    @property
    def given(self) -> tuple[EventEffect | WordEffect, ...]:
        return (*self.attribution.events, *nameable_words(self.attribution.words))

    def unsaid(self, sentence: str) -> list[str]:
        """Return what raised the item most, quoted, if the sentence gives reasons and not this one."""
        most = max(self.given, key=lambda one: one.effect, default=None)
        if most is None or most.effect < self.least:
            return []
        name = most.title if isinstance(most, EventEffect) else most.text
        reasons = _TAIL.split(sentence.partition(" because ")[2], maxsplit=1)[0].lower()
        return [] if f"“{_plain(name).lower()}”" in reasons else [f"“{name}”"]

    def is_item(self, title: str) -> bool:
        return _plain(self.attribution.title) == title

    def liked(self, title: str) -> bool:
        return any(self._share(one) >= _LIKED_FROM for one in self._raising(title))

    def disliked(self, title: str) -> bool:
        return any(self._share(one) < _DISLIKED_BELOW for one in self._raising(title))

    def gave(self, title: str, rating: str, most: str) -> bool:
        return any(
            one.event.rating is not None
            and self.scale is not None
            and f"{one.event.rating:g}" == rating
            and f"{self.scale[1]:g}" == most
            for one in self._raising(title)
        )

    def wrote(self, word: str) -> bool:
        return any(
            one.kind == "word" and _plain(one.text.lower()) == word and one.effect >= self.least
            for one in self.attribution.words
        )

    def has_attribute(self, name: str, value: str) -> bool:
        return any(
            one.kind == "attribute"
            and one.effect >= self.least
            and (one.name, _plain(one.text)) == (name, value)
            for one in self.attribution.words
        )

    def popular(self) -> bool:
        return self.attribution.item in self.facts.popular

    def filed(self, genres: str) -> bool:
        return _lists(self.facts.genres[self.attribution.item], genres)

    def filed_like(self, title: str, genres: str) -> bool:
        return self.filed(genres) and any(
            _lists(self.facts.genres[one.event.item], genres) and self._share(one) >= _LIKED_FROM
            for one in self._raising(title)
        )

    def nothing(self) -> bool:
        """Whether nothing raised the item that could be named."""
        return all(one.effect < LEAST_EFFECT for one in self.given)

    def _raising(self, title: str) -> list[EventEffect]:
        return [
            one for one in self.attribution.events if _plain(one.title) == title and one.effect >= self.least
        ]

    def _share(self, one: EventEffect) -> float:
        if one.event.rating is None or self.scale is None or self.scale[1] <= self.scale[0]:
            return 1.0
        return (one.event.rating - self.scale[0]) / (self.scale[1] - self.scale[0])


def _plain(text: str) -> str:
    return text.replace("“", '"').replace("”", '"')


def _lists(genres: Sequence[str], text: str) -> bool:
    """Tell whether a text is one of some genres, or two of them with "and" between."""
    return text in genres or any(text == f"{one} and {other}" for one in genres for other in genres)


def _each(test: Callable[[str], bool]) -> Callable[..., bool]:
    return lambda *found: all(test(one) for one in found if one is not None)


def _read(sentence: str, known: _Known) -> Iterator[Claim]:
    """Yield the claims from left to right; where nothing fits, all the rest is one claim that fails."""
    whole = re.fullmatch(rf"{_Q} (?:is suggested|comes up) (because|although) (.+)", sentence, re.DOTALL)
    if whole is None:
        yield Claim(text=sentence, holds=False)
        return
    yield Claim(text=f"“{whole[1]}”", holds=known.is_item(whole[1]))
    silent = [("nothing you gave speaks for it", known.nothing)]
    readers = _because(known) if whole[2] == "because" else silent
    claim, rest = _next(whole[3], readers)
    while claim is not None:
        yield claim
        if not rest.startswith(" and "):
            break
        claim, rest = _next(rest.removeprefix(" and "), readers)
    if claim is not None and rest.startswith("; "):
        claim, rest = _next(rest.removeprefix("; "), _tail(known))
        if claim is not None:
            yield claim
    if claim is None or rest != ".":
        yield Claim(text=rest, holds=False)


_Reader = tuple[str, Callable[..., bool]]


def _because(known: _Known) -> list[_Reader]:
    return [
        (rf"you liked {_QS}", _each(known.liked)),
        (rf"you disliked {_QS}", _each(known.disliked)),
        (rf"you gave {_Q} ([\d.]*\d) of ([\d.]*\d)", known.gave),
        (rf"you wrote {_QS}", _each(known.wrote)),
        (rf"your (.+?) is {_Q}", known.has_attribute),
        ("it is popular", known.popular),
    ]


def _tail(known: _Known) -> list[_Reader]:
    return [
        (rf"it is filed under {_GENRES}", known.filed),
        (rf"like {_Q}, it is filed under {_GENRES}", known.filed_like),
    ]


def _next(rest: str, readers: list[_Reader]) -> tuple[Claim | None, str]:
    for pattern, test in readers:
        found = re.match(pattern, rest)
        if found is not None:
            return Claim(text=found[0], holds=test(*found.groups())), rest[found.end() :]
    return None, rest
