"""What carried an item up a user's ranking: the exact effect of leaving out each input.

The user is adapted again without each event, each attribute and each word of the sentence, all of them in
one batch (`variants`); one batch serves any number of items. Only differences between scores of one user
mean something, so a score is measured from the mean over the whole catalogue:

    effect of x on item i  =  (s_i - mean s) with every input  -  (s_i - mean s) without x

What is popular with everybody is the same on both sides and drops out. A positive effect has raised the
item over the average one. Effects are those of one omission each: they need not add up to the score.

R is the whole user and all omissions, V items, D factors.
"""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from warmprompt.adaptation.engine import score
from warmprompt.adaptation.personaliser import Known, Personaliser
from warmprompt.adaptation.state import UserState
from warmprompt.adaptation.variants import states_of_variants
from warmprompt.errors import BadInputError
from warmprompt.experts.most_popular import MostPopular, is_unknown
from warmprompt.scoring.ranking import ranks
from warmprompt.types import Event, Floats, ItemId, short_repr

LIKED_SHARE = 0.75
"""Part of the rating scale from which on a rating means that its item is liked."""

_MARKS = string.punctuation + "\u2018\u2019\u201c\u201d\u2026"


@dataclass(frozen=True, kw_only=True)
class EventEffect:
    """What one event did for an item.

    Attributes:
        event: As given.
        title: Of the event's item.
        effect: Score that the item loses without it, measured from the catalogue's mean.
        rank_without: The item's rank without it, 1 the best.
    """

    event: Event
    title: str
    effect: float
    rank_without: int


@dataclass(frozen=True, kw_only=True)
class WordEffect:
    """What one word or attribute of the user text did for an item.

    Attributes:
        kind: `word` of the sentence about the user, or `attribute`.
        text: The word without marks around it; an attribute's value.
        name: The attribute's name; empty for words.
        effect, rank_without: As in `EventEffect`.
    """

    kind: Literal["word", "attribute"]
    text: str
    name: str
    effect: float
    rank_without: int


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """One of the items that the user likes, by how near it lies.

    Attributes:
        item: Its id.
        title: Its title.
        similarity: Cosine of the two item vectors.
    """

    item: ItemId
    title: str
    similarity: float


@dataclass(frozen=True, kw_only=True)
class ExpertPart:
    """What one expert adds to an item's score.

    Attributes:
        name: Of the expert.
        part: Its weighted score less its mean over the catalogue; parts sum to the item's score.
    """

    name: str
    part: float


@dataclass(frozen=True, kw_only=True)
class Attribution:
    """What carried one item.

    Attributes:
        item: Its id.
        title: Its title.
        score: Its score less the mean over the catalogue, popularity included.
        rank: Its position in the user's ranking, 1 the best.
        experts: One per expert, largest part first.
        events: One per event, largest effect first.
        words: One per attribute and word, largest effect first.
        nearest: The items that the user likes which lie nearest, nearest first.
    """

    item: ItemId
    title: str
    score: float
    rank: int
    experts: tuple[ExpertPart, ...]
    events: tuple[EventEffect, ...]
    words: tuple[WordEffect, ...]
    nearest: tuple[Neighbour, ...]

    __repr__ = short_repr


@dataclass(frozen=True, kw_only=True)
class _Omission:
    """One thing left out, and the user without it."""

    known: Known
    event: Event | None = None
    name: str = ""
    text: str = ""


def attribute(
    model: Personaliser, state: UserState, items: Sequence[ItemId], *, num_nearest: int = 3
) -> list[Attribution]:
    """Return what carried each of some items, from one batch of adaptations (64 in each pass).

    Places are those among all items that the user has no event with, also where an event is left out.

    Args:
        model: The model that adapted the state.
        state: The user.
        items: Items to explain; none of the user's own.
        num_nearest: Nearest liked items to name.

    Raises:
        MismatchError: Another model made the state.
        UnknownNameError: An item that the model was not trained with.
        BadInputError: One of the user's own items, or no items.
    """
    _check(model, state, items)
    omissions = _omissions(state)
    states = states_of_variants(model, [_known(state), *(one.known for one in omissions)])
    vectors_RD = torch.tensor(np.stack([one.vector_D for one in states]))
    supports = [model.support_of(one) for one in states]
    # Without their only input users would count as unknown; the effects are those within the same experts.
    has_it = MostPopular.name in model.engine.mixture.experts
    drop = [MostPopular.name] if has_it and not is_unknown(supports[0]) else []
    scores_RV = score(model.engine, vectors_RD, supports, drop=drop)
    parts = model.engine.mixture.contributions(model.engine.users(vectors_RD[:1], supports[:1]))
    centred_parts = {name: part_1V[0] - part_1V.mean(dtype=np.float64) for name, part_1V in parts.items()}
    own = np.array([model.index[event.item] for event in state.events], dtype=np.int32)
    indices = [np.array([model.index[item] for item in items], dtype=np.int32)] * len(states)
    ranked = np.array(ranks(scores_RV, indices, excluded=[own] * len(states)), dtype=np.int64)
    centred_RV = scores_RV.astype(np.float64) - scores_RV.mean(axis=1, keepdims=True, dtype=np.float64)
    found = []
    for column, item in enumerate(items):
        at = model.index[item]
        one = _attribution(model, state, item, centred_RV[:, at], ranked[:, column], omissions, num_nearest)
        shares = [ExpertPart(name=name, part=float(part_V[at])) for name, part_V in centred_parts.items()]
        found.append(replace(one, experts=tuple(sorted(shares, key=lambda share: -share.part))))
    return found


def likes(event: Event, scale: tuple[float, float] | None) -> bool:
    """Return whether an event counts as a like; one without a rating does."""
    if event.rating is None or scale is None or scale[1] <= scale[0]:
        return True
    return (event.rating - scale[0]) / (scale[1] - scale[0]) >= LIKED_SHARE


def _check(model: Personaliser, state: UserState, items: Sequence[ItemId]) -> None:
    if isinstance(items, str | bytes) or not len(items):
        raise BadInputError(field="items", value=items, remedy="Give a list of at least one item id.")
    model.rank(state, 1, candidates=items)  # refuses foreign states and unknown items
    for event in state.events:
        if event.item in items:
            raise BadInputError(
                field="item", value=event.item, remedy="It is one of the user's own; explain ranked items."
            )


def _known(state: UserState) -> Known:
    return Known(events=state.events, about=state.about, attributes=state.attributes)


def _omissions(state: UserState) -> list[_Omission]:
    whole = _known(state)
    words = (state.about or "").split()
    return [
        *(
            _Omission(event=event, known=replace(whole, events=_without(state.events, index)))
            for index, event in enumerate(state.events)
        ),
        *(
            _Omission(
                name=name,
                text=value,
                known=replace(whole, attributes={k: v for k, v in state.attributes.items() if k != name}),
            )
            for name, value in state.attributes.items()
        ),
        *(
            _Omission(
                text=word.strip(_MARKS), known=replace(whole, about=" ".join(_without(words, index)) or None)
            )
            for index, word in enumerate(words)
        ),
    ]


def _without(parts: Sequence, index: int) -> tuple:  # type: ignore[type-arg]
    return (*parts[:index], *parts[index + 1 :])


def _attribution(  # noqa: PLR0913, PLR0917 - one column of what `attribute` computed
    model: Personaliser,
    state: UserState,
    item: ItemId,
    centred_R: np.ndarray,
    ranks_R: np.ndarray,
    omissions: Sequence[_Omission],
    num_nearest: int,
) -> Attribution:
    events, words = [], []
    for row, one in enumerate(omissions, start=1):
        effect, rank = float(centred_R[0] - centred_R[row]), int(ranks_R[row])
        if one.event is not None:
            title = model.title(one.event.item)
            events.append(EventEffect(event=one.event, title=title, effect=effect, rank_without=rank))
        elif one.text:
            kind: Literal["word", "attribute"] = "attribute" if one.name else "word"
            words.append(
                WordEffect(kind=kind, text=one.text, name=one.name, effect=effect, rank_without=rank)
            )
    return Attribution(
        item=item,
        title=model.title(item),
        score=float(centred_R[0]),
        rank=int(ranks_R[0]),
        experts=(),
        events=tuple(sorted(events, key=lambda one: -one.effect)),
        words=tuple(sorted(words, key=lambda one: -one.effect)),
        nearest=_nearest(model, state, item, num_nearest),
    )


def _nearest(model: Personaliser, state: UserState, item: ItemId, num: int) -> tuple[Neighbour, ...]:
    """Return liked items by the cosine of their catalogue vectors with the item's."""
    vectors_VD: Floats = model.engine.catalogue_VD.detach().cpu().numpy()
    unit_D = _unit(vectors_VD[model.index[item]])
    found = [
        Neighbour(
            item=event.item,
            title=model.title(event.item),
            similarity=float(_unit(vectors_VD[model.index[event.item]]) @ unit_D),
        )
        for event in state.events
        if likes(event, model.rating_scale)
    ]
    return tuple(sorted(found, key=lambda one: -one.similarity)[:num])


def _unit(vector_D: Floats) -> Floats:
    return vector_D / max(float(np.linalg.norm(vector_D)), 1e-12)
