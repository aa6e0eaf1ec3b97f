"""The sentences that may explain an item: a small grammar whose slots hold facts of one user and one item.

    sentence  = item verb why [ tail ] "."
    verb      = "is suggested" | "comes up"
    why       = "because" reason [ "and" reason ] | "although nothing you gave speaks for it"
    reason    = "you liked" titles | "you disliked" titles | "you gave" title N "of" M
              | "you wrote" words | "your" attribute "is" value | "it is popular"
    tail      = "; it is filed under" genres | "; like" title ", it is filed under" genres

Every sentence names what raised the item most. The language is finite, so it becomes a token trie and the
language model chooses a sentence of it. `check.claims_of` reads sentences back, and shares nothing with this
file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

from warmprompt.adaptation.explain import Attribution, EventEffect
from warmprompt.generation.context import opinion
from warmprompt.generation.facts import Facts, Reasons, reasons_of, strongest_of

_VERBS = ("is suggested", "comes up")
_NOTHING = "although nothing you gave speaks for it"
_MOST_GENRES = 2

Scale = tuple[float, float] | None


def sentences_for(attribution: Attribution, facts: Facts, scale: Scale) -> list[str]:
    """Return every sentence of the grammar for one item, in a fixed order, the plainest first.

    Args:
        attribution: Of the item, from `adaptation.explain.attribute`.
        facts: Of the catalogue.
        scale: The rating scale, or None.
    """
    reasons = reasons_of(attribution.events, attribution.words)
    strongest = strongest_of(attribution.events, attribution.words)
    becauses = [
        f"because {said}"
        for said in _reasons(attribution, facts, reasons, scale)
        if strongest is None or quoted(strongest) in said
    ]
    tails = list(_tails(attribution, facts, reasons, scale))
    return [
        f"{quoted(attribution.title)} {verb} {because}{tail}."
        for verb in _VERBS
        for because in becauses or [_NOTHING]
        for tail in tails
    ]


def template_for(attribution: Attribution, facts: Facts, scale: Scale) -> str:
    """Return the sentence without a language model: the strongest reasons of two kinds, and the genres."""
    reasons = reasons_of(attribution.events, attribution.words)
    first = list(_of_events(reasons.events[:1], scale)) + list(_of_words(reasons.words[:1]))
    first += list(_of_attributes(reasons))
    if not first and attribution.item in facts.popular:
        first = ["it is popular"]
    strongest = quoted(strongest_of(attribution.events, attribution.words) or "")
    first.sort(key=lambda said: strongest not in said)
    why = f"because {' and '.join(first[:2])}" if first else _NOTHING
    tail = list(_tails(attribution, facts, reasons, scale, shared=False))[-1]
    return f"{quoted(attribution.title)} {_VERBS[0]} {why}{tail}."


def quoted(text: str) -> str:
    """Return a text between quotation marks that occur nowhere in it."""
    inner = text.replace("“", '"').replace("”", '"')
    return f"“{inner}”"


def _reasons(attribution: Attribution, facts: Facts, reasons: Reasons, scale: Scale) -> Iterator[str]:
    kinds = [
        list(_of_events(reasons.events, scale)),
        list(_of_words(reasons.words)),
        list(_of_attributes(reasons)),
    ]
    for kind in kinds:
        yield from kind
    for one, other in permutations(kinds, 2):
        yield from (f"{left} and {right}" for left in one for right in other)
    if not reasons and attribution.item in facts.popular:
        yield "it is popular"


def _of_events(events: Sequence[EventEffect], scale: Scale) -> Iterator[str]:
    for opinion_, verb in (("liked", "you liked"), ("disliked", "you disliked")):
        titles = [quoted(one.title) for one in events if opinion(one.event, scale) == opinion_]
        yield from (f"{verb} {listed}" for listed in _listed(titles))
    for one in events:
        if scale is not None and one.event.rating is not None and opinion(one.event, scale) == "met":
            yield f"you gave {quoted(one.title)} {one.event.rating:g} of {scale[1]:g}"


def _of_words(words: Sequence[str]) -> Iterator[str]:
    yield from (f"you wrote {listed}" for listed in _listed([quoted(word) for word in words]))


def _of_attributes(reasons: Reasons) -> Iterator[str]:
    for one in reasons.attributes:
        yield f"your {one.name} is {quoted(one.text)}"


def _tails(
    attribution: Attribution, facts: Facts, reasons: Reasons, scale: Scale, *, shared: bool = True
) -> Iterator[str]:
    """Yield nothing; the item's genres one by one; its first two; genres shared with a liked item."""
    genres = facts.genres[attribution.item]
    yield ""
    yield from (f"; it is filed under {listed}" for listed in _listed(genres, pairs=False))
    if len(genres) > 1:
        yield f"; it is filed under {' and '.join(genres[:_MOST_GENRES])}"
    for one in reasons.events if shared else ():
        if opinion(one.event, scale) == "liked":
            common = [genre for genre in genres if genre in facts.genres[one.event.item]]
            yield from (
                f"; like {quoted(one.title)}, it is filed under {listed}"
                for listed in _listed(common, pairs=False)
            )


def _listed(names: Sequence[str], *, pairs: bool = True) -> Iterator[str]:
    """Yield each name, then each pair in order."""
    yield from names
    if pairs:
        yield from (
            f"{one} and {other}" for position, one in enumerate(names) for other in names[position + 1 :]
        )
