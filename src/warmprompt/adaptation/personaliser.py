"""One trained model in use: adapt to a user, rank the catalogue, take in one event more.

    adapt(events, about, attributes) -> state
    observe(state, event) -> state           the same as adapting to all events at once, bit for bit
    rank(state) -> ranking

Every adaptation begins at the learned start, so a state depends on what was told and not on how it
was told in parts. B is users, V items, D factors.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from warmprompt.adaptation.engine import Engine, adapt, check_text, read, score, users_linearly
from warmprompt.adaptation.events import (
    checked_about,
    checked_attributes,
    checked_events,
    support_of,
    unknown_item,
    user_text,
)
from warmprompt.adaptation.packing import frozen
from warmprompt.adaptation.state import UserState
from warmprompt.adaptation.text_cache import TextCache, Texts
from warmprompt.adaptation.titles import TitleIndex, find_title, title_index
from warmprompt.adaptation.variants import adapt_variants
from warmprompt.data.episodes import batch_supports
from warmprompt.errors import BadInputError, MismatchError, UserError
from warmprompt.meta.predict import Adapted, ReadTexts
from warmprompt.scoring.ranking import top_n
from warmprompt.types import Event, Floats, ItemId, Support

_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """The best items for a user, best first; equal scores are ordered as the catalogue is.

    Attributes:
        items: Item ids.
        titles: Their titles.
        scores: Their scores; only differences between items of one user mean something.
    """

    items: tuple[ItemId, ...]
    titles: tuple[str, ...]
    scores: tuple[float, ...]

    def __len__(self) -> int:
        """Places filled; fewer than asked for where there are fewer candidates."""
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is told of one user, for `Personaliser.adapt_many`.

    Attributes:
        events: What the user did.
        about: A sentence about the user, or None.
        attributes: The user's attributes, or None.
    """

    events: Sequence[Event] = ()
    about: str | None = None
    attributes: Mapping[str, str] | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Personaliser:
    """A trained model in use; open one with `warmprompt.load`. Safe to share between threads.

    Attributes:
        engine: The model.
        model_hash: Of the learned parameters and the frozen weights; states carry it.
        index: Item id to position.
        lookup: Titles to items.
        texts: User texts read before.
        clock: Returns the present, seconds since 1970; events cannot be later.
    """

    engine: Engine
    model_hash: str
    index: Mapping[ItemId, int]
    lookup: TitleIndex
    texts: Texts
    clock: Callable[[], float]

    @property
    def weight_unit(self) -> float | None:
        """The weight of events that counts 1, or None where the model was trained without weights."""
        return self.engine.trained.weight_unit

    @property
    def rating_scale(self) -> tuple[float, float] | None:
        """(lowest, highest) possible rating, or None where the model was trained without ratings."""
        return self.engine.trained.rating_scale

    @property
    def items(self) -> tuple[ItemId, ...]:
        """Every item that can be ranked."""
        return self.engine.trained.item_ids

    def adapt(
        self,
        events: Sequence[Event] = (),
        *,
        about: str | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> UserState:
        """Adapt the prompt to one user.

        Of several events with the same item the last one counts. Without events the prompt stays at
        its start, and the text alone decides.

        Args:
            events: What the user did, oldest first.
            about: A sentence about the user.
            attributes: Such as {"age": "24", "occupation": "artist"}.

        Raises:
            UnknownNameError: An item that the model was not trained with.
            BadInputError: A rating, time or text that cannot be; too many events.
            NotFiniteError: A loss became NaN or infinite.
        """
        known = self._checked(Known(events=events, about=about, attributes=attributes))
        return self._states([known], self.texts.get(self.engine, _text_of(known)))[0]

    def adapt_many(self, users: Sequence[Known]) -> list[UserState]:
        """Adapt to many users, up to 64 in each pass of the model; far faster than one after the other.

        Numbers may differ from those of `adapt` in the last bits, as sums over batches do.

        Raises:
            UnknownNameError, BadInputError: As `adapt`; the field begins with the user's position.
        """
        checked = self._all_checked(users)
        states: list[UserState] = []
        for start in range(0, len(checked), _CHUNK):
            part = checked[start : start + _CHUNK]
            states += self._states(part, read(self.engine, [_text_of(known) for known in part]))
        return states

    def adapt_variants(self, users: Sequence[Known]) -> list[UserState]:
        """Adapt to one user, the first, and to variants of what is told of that user, 64 in each pass.

        States are those of `adapt_many`, texts that differ from the first one's to a thousandth of their
        move; how the model answers behind a text is measured for the first alone (`adaptation.variants`).

        Raises:
            UnknownNameError, BadInputError: As `adapt_many`.
        """
        checked = self._all_checked(users)
        texts = [_text_of(known) for known in checked]
        whole = self.texts.peek(texts[0]) if texts[0] else self.engine.no_text
        whole = whole or read(self.engine, texts[:1])
        states: list[UserState] = []
        for start in range(0, len(checked), _CHUNK):
            part = slice(start, start + _CHUNK)
            supports = [self.support_of(known.events) for known in checked[part]]
            adapted = adapt_variants(
                self.engine, texts[part], supports, whole=texts[0], metric=whole.metrics[0]
            )
            states += self._stated(checked[part], adapted)
        return states

    def observe(self, state: UserState, event: Event) -> UserState:
        """Return the state after one event more; `state` itself still holds.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError, BadInputError: As `adapt`.
        """
        self._check_own(state)
        return self.adapt([*state.events, event], about=state.about, attributes=state.attributes)

    def rank(
        self,
        state: UserState,
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        popularity: bool = True,
    ) -> Ranking:
        """Rank the catalogue for a user; items of the user's events are left out.

        Args:
            state: From `adapt` or `observe` of this model.
            n: Places, at least 1.
            candidates: Rank only these items.
            popularity: False leaves out what is popular with everybody.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError: A candidate that the model was not trained with.
            BadInputError: `n` is no whole number of at least 1.
        """
        self._check_own(state)
        _check_places(n)
        support = self.support_of(state.events)
        scores_1V = score(self.engine, torch.tensor(state.vector_D)[None], [support], popularity=popularity)
        return self._rankings(scores_1V, [support], n, candidates)[0]

    def rank_linearly(
        self,
        users: Sequence[Known],
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        popularity: bool = True,
    ) -> list[Ranking]:
        """Rank for many users as their prompts would, without moving any: no pass of the language model.

        User vectors take the inner steps themselves, in the model's linear response to prompts. Rankings
        are nearly those of `adapt` and `rank` (docs/results), several times faster; there is no state to
        observe more events with. A model whose language model reads user texts still reads each once.

        Args:
            users: What is told of each.
            n: Places for each, at least 1.
            candidates: Rank only these items.
            popularity: False leaves out what is popular with everybody.

        Raises:
            UnknownNameError, BadInputError: As `adapt_many` and `rank`.
        """
        _check_places(n)
        checked = self._all_checked(users)
        rankings: list[Ranking] = []
        for start in range(0, len(checked), _CHUNK):
            part = checked[start : start + _CHUNK]
            supports = [self.support_of(known.events) for known in part]
            users_BD = users_linearly(self.engine, [_text_of(known) for known in part], supports)
            scores_BV = score(self.engine, users_BD, supports, popularity=popularity)
            rankings += self._rankings(scores_BV, supports, n, candidates)
        return rankings

    def find(self, title: str) -> ItemId:
        """Return the item that a title means; see `titles.find_title` for what is forgiven.

        An item without a title is meant by its id, letter by letter.

        Raises:
            UnknownNameError: None or several; names the nearest titles.
        """
        untitled = self._untitled(title)
        return self.items[find_title(self.lookup, title) if untitled is None else untitled]

    def title(self, item: ItemId) -> str:
        """Return an item's title.

        Raises:
            UnknownNameError: No such item.
        """
        if item not in self.index:
            raise unknown_item(item, self.index, field="item")
        return self.engine.trained.titles[self.index[item]]

    def support_of(self, events: Sequence[Event]) -> Support:
        """Return checked events as the support set that the model takes."""
        return support_of(events, index=self.index, weight_unit=self.weight_unit)

    def _untitled(self, wanted: object) -> int | None:
        """Return the place of the untitled item whose id is written so."""
        number = isinstance(wanted, str) and re.fullmatch(r"-?\d{1,18}", wanted)
        for item in (wanted, int(str(wanted)) if number else wanted):
            if isinstance(item, str | int) and item in self.index:
                place = self.index[item]
                return None if self.engine.trained.titles[place] else place
        return None

    def _checked(self, known: Known) -> Known:
        checked = Known(
            events=checked_events(
                known.events,
                index=self.index,
                scale=self.rating_scale,
                weighted=self.weight_unit is not None,
                now_s=self.clock(),
            ),
            about=checked_about(known.about),
            attributes=checked_attributes(known.attributes),
        )
        check_text(self.engine, _text_of(checked))
        return checked

    def _all_checked(self, users: Sequence[Known]) -> list[Known]:
        checked = []
        for place, known in enumerate(users):
            try:
                checked.append(self._checked(known))
            except UserError as error:
                raise type(error)(
                    field=f"user {place}, {error.field}", value=error.value, remedy=error.remedy
                ) from None
        return checked

    def _states(self, users: Sequence[Known], texts: ReadTexts) -> list[UserState]:
        supports = [self.support_of(known.events) for known in users]
        return self._stated(users, adapt(self.engine, texts, batch_supports(supports)))

    def _stated(self, users: Sequence[Known], adapted: Adapted) -> list[UserState]:
        vectors_BD, offsets_BPH = adapted.users_BD.cpu().numpy(), adapted.offsets_BPH.cpu().numpy()
        return [
            UserState(
                events=tuple(known.events),
                about=known.about,
                attributes=known.attributes or {},
                vector_D=frozen(vectors_BD[row]),
                offsets_PH=frozen(offsets_BPH[row]),
                model_hash=self.model_hash,
            )
            for row, known in enumerate(users)
        ]

    def _rankings(
        self, scores_BV: Floats, supports: Sequence[Support], n: int, candidates: Sequence[ItemId] | None
    ) -> list[Ranking]:
        mask = None if candidates is None else self._mask(candidates)
        best_BN = top_n(scores_BV, n, excluded=[support.items_K for support in supports], candidates=mask)
        trained = self.engine.trained
        found = [[int(item) for item in best_N if item >= 0] for best_N in best_BN]
        return [
            Ranking(
                items=tuple(trained.item_ids[item] for item in best),
                titles=tuple(trained.titles[item] for item in best),
                scores=tuple(float(scores_V[item]) for item in best),
            )
            for best, scores_V in zip(found, scores_BV, strict=True)
        ]

    def _mask(self, candidates: Sequence[ItemId]) -> NDArray[np.bool_]:
        if isinstance(candidates, str | bytes):
            raise BadInputError(field="candidates", value=candidates, remedy="Give a list of item ids.")
        mask = np.zeros(len(self.items), dtype=np.bool_)
        for item in candidates:
            if item not in self.index:
                raise unknown_item(item, self.index, field="candidate")
            mask[self.index[item]] = True
        return mask

    def _check_own(self, state: UserState) -> None:
        if not isinstance(state, UserState):
            raise BadInputError(field="state", value=type(state).__name__, remedy="Give what adapt returned.")
        if state.model_hash != self.model_hash:
            raise MismatchError(
                field="model of the user state",
                value=state.model_hash[:12],
                remedy=f"This model is {self.model_hash[:12]}: adapt the user again from state.events.",
            )


def make_personaliser(engine: Engine, *, clock: Callable[[], float] = time.time) -> Personaliser:
    """Return a personaliser over an engine whose run lies on the disk."""
    trained = engine.trained
    parts = (*sorted(trained.manifest["files"].items()), engine.backbone.weights_hash, engine.adapts_by)
    return Personaliser(
        engine=engine,
        model_hash=hashlib.sha256(repr(parts).encode()).hexdigest(),
        index={item: place for place, item in enumerate(trained.item_ids)},
        lookup=title_index(trained.titles, trained.constants.log_popularity_V.cpu().numpy()),
        texts=TextCache(),
        clock=clock,
    )


def _check_places(n: object) -> None:
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise BadInputError(field="n", value=n, remedy="Ask for a whole number of items, at least 1.")


def _text_of(known: Known) -> str:
    return user_text(known.about, known.attributes or {})
