"""One trained model in use: adapt to a user, rank the catalogue, take in one event more.

    adapt(events, about, attributes) -> state
    observe(state, event) -> state           the same as adapting to all events at once, bit for bit
    rank(state) -> ranking

Every adaptation begins at the learned start, so a state depends on what was told and not on how it
was told in parts. B is users, V items, D factors.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from warmprompt.adaptation.engine import (
    Engine,
    adapt,
    check_text,
    linear_params,
    read,
    score,
    users_linearly,
)
from warmprompt.adaptation.events import (
    checked_about,
    checked_attributes,
    checked_events,
    support_of,
    unknown_item,
    user_text,
)
from warmprompt.adaptation.known import Known
from warmprompt.adaptation.packing import frozen
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.selection import Mask, Selection, check_places, known_item, places_of, ranked
from warmprompt.adaptation.similar import similar_items
from warmprompt.adaptation.state import UserState
from warmprompt.adaptation.text_cache import TextCache, Texts
from warmprompt.adaptation.titles import TitleIndex, find_title, title_index
from warmprompt.adaptation.variants import adapt_variants
from warmprompt.backbone.threads import use_threads
from warmprompt.data.attributes import Filter
from warmprompt.data.episodes import batch_supports
from warmprompt.errors import BadInputError, MismatchError, UserError
from warmprompt.files import new_folder
from warmprompt.meta.checkpoint import MANIFEST, save_trained
from warmprompt.meta.predict import Adapted, ReadTexts
from warmprompt.types import Event, ItemId, Support

__all__ = ["Known", "Personaliser", "make_personaliser"]

_CHUNK = 64


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
        hidden: Items that no ranking holds; see `hide`.
    """

    engine: Engine
    model_hash: str
    index: Mapping[ItemId, int]
    lookup: TitleIndex
    texts: Texts
    clock: Callable[[], float]
    hidden: frozenset[ItemId] = frozenset()

    def __repr__(self) -> str:
        """Return one line: what was trained on what, and how much can be ranked."""
        told, scale = self.engine.trained.manifest, self.rating_scale
        rated = "no ratings" if scale is None else f"ratings {scale[0]:g} to {scale[1]:g}"
        data, backbone = (str(told[part]["name"])[-60:] for part in ("data", "backbone"))
        return (
            f"Personaliser({self.engine.trained.learner} on {data!r}, {len(self.items):,} items, {rated}, "
            f"backbone {backbone!r})"
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a pickle's parts, with as many threads as `warmprompt.load` gives the model."""
        vars(self).update(state)
        use_threads(self.engine.trained.manifest["settings"]["train"]["threads"])

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
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002 - the word that everybody knows
        popularity: bool = True,
    ) -> Ranking:
        """Rank the catalogue for a user; items of the user's events and hidden ones are left out.

        Args:
            state: From `adapt` or `observe` of this model.
            n: Places, at least 1.
            candidates: Rank only these items.
            exclude: Rank none of these items.
            filter: Rank only items with these attributes, such as {"genres": ["Comedy", "Drama"]} or
                {"year": {"min": 1990}} (see `data.attributes`); none at all where none has them.
            popularity: False leaves out what is popular with everybody.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError: An item, an attribute or a value of one that the model was not trained with.
            BadInputError: `n` is no whole number of at least 1, or the filter is of another form.
        """
        self._check_own(state)
        check_places(n)
        mask = self._mask(Selection(candidates=candidates, exclude=exclude, filter=filter))
        support = self.support_of(state.events)
        scores_1V = score(self.engine, torch.tensor(state.vector_D)[None], [support], popularity=popularity)
        return ranked(self.engine.trained, scores_1V, [support], n, mask)[0]

    def rank_linearly(
        self,
        users: Sequence[Known],
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002
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
            exclude: Rank none of these items.
            filter: As in `rank`.
            popularity: False leaves out what is popular with everybody.

        Raises:
            UnknownNameError, BadInputError: As `adapt_many` and `rank`.
        """
        check_places(n)
        mask = self._mask(Selection(candidates=candidates, exclude=exclude, filter=filter))
        checked = self._all_checked(users)
        rankings: list[Ranking] = []
        params = linear_params(self.engine)
        for start in range(0, len(checked), _CHUNK):
            part = checked[start : start + _CHUNK]
            supports = [self.support_of(known.events) for known in part]
            texts = [_text_of(known) for known in part]
            users_BD = users_linearly(self.engine, texts, supports, params=params)
            scores_BV = score(self.engine, users_BD, supports, popularity=popularity)
            rankings += ranked(self.engine.trained, scores_BV, supports, n, mask)
        return rankings

    def similar(
        self,
        item: ItemId,
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> Ranking:
        """Return the items most like an item, which may be hidden; scores are cosines (see `similar`).

        Raises:
            UnknownNameError: As `rank`; also for an item of which nothing is known.
            BadInputError: As `rank`.
        """
        check_places(n)
        (place,) = places_of([item], self.index, field="item")
        mask = self._mask(Selection(candidates=candidates, exclude=exclude, filter=filter))
        scores_1V, support, mask = similar_items(self.engine.catalogue_VD, place, item, mask)
        return ranked(self.engine.trained, scores_1V, [support], n, mask)[0]

    def hide(self, items: Sequence[ItemId]) -> Personaliser:
        """Return this model with items in no ranking, not even as candidates; users may have them in events.

        Raises:
            UnknownNameError: An item that the model was not trained with.
        """
        places = places_of(items, self.index, field="item to hide")
        return replace(self, hidden=self.hidden | {self.items[place] for place in places})

    def show(self, items: Sequence[ItemId]) -> Personaliser:
        """Return this model with items no longer hidden; arguments and errors as `hide`."""
        places = places_of(items, self.index, field="item to show")
        return replace(self, hidden=self.hidden - {self.items[place] for place in places})

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as a run, for `warmprompt.load` and the commands; what is hidden is not kept.

        Args:
            folder: Of the run; its parents are made.
            overwrite: Replace a run that lies there.

        Raises:
            BadInputError: The folder holds something, and is not to be, or must not be, replaced.
            StorageError: The disk is full or not writable.
        """
        folder = Path(folder)
        if overwrite and folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
            raise BadInputError(
                field="run folder", value=folder, remedy="It holds something else; name another place."
            )
        with new_folder(folder, overwrite=overwrite) as staging:
            save_trained(staging, self.engine.trained)

    def find(self, title: str) -> ItemId:
        """Return the item that a title means; see `titles.find_title` for what is forgiven.

        An item without a title is meant by its id, letter by letter.

        Raises:
            UnknownNameError: None or several; names the nearest titles.
        """
        item = known_item(title, self.index)
        if item is not None and not self.title(item):
            return item
        return self.items[find_title(self.lookup, title)]

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

    def _mask(self, selection: Selection) -> Mask | None:
        return selection.mask(self.index, self.engine.trained.attributes, self.hidden)

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


def _text_of(known: Known) -> str:
    return user_text(known.about, known.attributes or {})
