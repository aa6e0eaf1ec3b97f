"""One trained model in use: adapt to a user, rank the catalogue, take in one event more.

    adapt(events, about, attributes) -> state
    observe(state, event) -> state           the same as adapting to all events at once, bit for bit
    rank(state) -> ranking

Every adaptation begins at the learned start, so a state depends on the inputs and not on how they
came in parts. B is users, V items, D factors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from warmprompt.adaptation.asking import DEFAULT_ITEMS, Questionnaire, make_questionnaire, screen_of
from warmprompt.adaptation.describe import ModelDescription, model_description
from warmprompt.adaptation.engine import Engine, adapt_batch, check_text, encode, score, users_linearly
from warmprompt.adaptation.events import Known, checked_known, support_of, unknown_item
from warmprompt.adaptation.many_users import UnknownItems, UserOptions, for_each_user, pass_size, recommended
from warmprompt.adaptation.rankings import Ranking
from warmprompt.adaptation.saving import in_a_line, save_model
from warmprompt.adaptation.selection import Mask, Selection, check_count, known_item, positions_of, top_items
from warmprompt.adaptation.similar import similar_cosines
from warmprompt.adaptation.state import UserState, check_own, states_of
from warmprompt.adaptation.text_cache import Texts
from warmprompt.adaptation.titles import TitleIndex, find_title
from warmprompt.backbone.threads import use_threads
from warmprompt.data.attributes import Filter
from warmprompt.data.episodes import batch_supports
from warmprompt.meta.predict import EncodedTexts
from warmprompt.types import Event, ItemId, Support, fields_only

__all__ = ["Known", "Personaliser"]

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
        """Return one line: what was trained on what, how much can be ranked, and the experts by name."""
        return f"Personaliser({in_a_line(self.engine.trained, self.engine.mixture.experts)})"

    __getstate__ = fields_only

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take a pickle's parts, with as many threads as `warmprompt.load` gives the model."""
        vars(self).update(state)
        use_threads(self.engine.trained.manifest["settings"]["train"]["threads"])

    def describe(self) -> ModelDescription:
        """Return what scores are made of: experts, weights, sizes and costs; print it for a table."""
        return model_description(self.engine, in_a_line(self.engine.trained))

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
        exact: bool | None = None,
    ) -> UserState:
        """Adapt to one user.

        Of several events with the same item the last one counts. Without events the text alone decides.

        Args:
            events: What the user did, oldest first.
            about: A sentence about the user.
            attributes: Such as {"age": "24", "occupation": "artist"}.
            exact: True moves the prompt through the language model, False takes the model's linear response
                without running it; None does what the run's own validation found good enough.

        Raises:
            UnknownNameError: An item that the model was not trained with.
            BadInputError: A rating, time or text that cannot be; too many events.
            NotFiniteError: A loss became NaN or infinite.
        """
        known = self.checked(Known(events=events, about=about, attributes=attributes))
        if self._is_linear(exact):
            return self._linear_states([known])[0]
        return self._states([known], self.texts.get(self.engine, known.text))[0]

    def adapt_many(self, users: Sequence[Known], *, exact: bool | None = None) -> list[UserState]:
        """Adapt to many users, up to 64 at a time; far faster than one after the other.

        Numbers may differ from those of `adapt` in the last bits, as sums over batches do; `exact` as there.

        Raises:
            UnknownNameError, BadInputError: As `adapt`; the field begins with the user's position.
        """
        checked = for_each_user(users, self.checked)
        states: list[UserState] = []
        for start in range(0, len(checked), _CHUNK):
            part = checked[start : start + _CHUNK]
            if self._is_linear(exact):
                states += self._linear_states(part)
            else:
                states += self._states(part, encode(self.engine, [known.text for known in part]))
        return states

    def observe(self, state: UserState, event: Event) -> UserState:
        """Return the state after one event more, adapted as `state` was; `state` itself still holds.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError, BadInputError: As `adapt`.
        """
        check_own(state, self.model_hash)
        events = [*state.events, event]
        return self.adapt(events, about=state.about, attributes=state.attributes, exact=state.has_prompt)

    def with_prompt(self, state: UserState) -> UserState:
        """Return the state with the user's prompt, which the linear response leaves out.

        Raises:
            MismatchError: Another model made the state.
        """
        check_own(state, self.model_hash)
        if state.has_prompt:
            return state
        return self.adapt(state.events, about=state.about, attributes=state.attributes, exact=True)

    def rank(  # noqa: PLR0913 - a user, and options by keyword
        self,
        state: UserState,
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002 - the word that everybody knows
        drop: Sequence[str] = (),
        ordered: bool = False,
    ) -> Ranking:
        """Rank the catalogue for a user; items of the user's events and hidden ones are left out.

        Args:
            state: From `adapt` or `observe` of this model.
            n: Items, at least 1.
            candidates: Rank only these items.
            exclude: Rank none of these items.
            filter: Rank only items with these attributes, such as {"genres": ["Comedy", "Drama"]} or
                {"year": {"min": 1990}} (see `data.attributes`); none at all where none has them.
            drop: Experts to leave out of the score, such as "popularity" (`describe` lists them).
            ordered: Whether the events are all the user's, oldest first: then experts of order score, too.

        Raises:
            MismatchError: Another model made the state.
            UnknownNameError: An item, an attribute, a value of one or an expert that the model does not have.
            BadInputError: `n` is no whole number of at least 1, or the filter is of another form.
        """
        check_own(state, self.model_hash)
        check_count(n)
        mask = self._mask(candidates=candidates, exclude=exclude, filter=filter)
        support = self.support_of(state, ordered=ordered)
        scores_1V = score(self.engine, torch.tensor(state.vector_D)[None], [support], drop=drop)
        return top_items(self.engine.trained, scores_1V, [support], n, mask)[0]

    def rank_many(  # noqa: PLR0913 - users, items, and options by keyword
        self,
        users: Sequence[Known],
        n: int = 10,
        *,
        candidates: Sequence[ItemId] | None = None,
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002
        drop: Sequence[str] = (),
        ordered: bool = False,
        exact: bool | None = None,
    ) -> list[Ranking]:
        """Rank for many users at once, as `adapt_many` and `rank` do, without states to go on from.

        `n` items for each; the other arguments are those of `rank`, and `exact` that of `adapt`.

        Raises:
            UnknownNameError, BadInputError: As `adapt_many` and `rank`.
        """
        check_count(n)
        mask = self._mask(candidates=candidates, exclude=exclude, filter=filter)
        checked = for_each_user(users, self.checked)
        rankings: list[Ranking] = []
        num_users = pass_size(len(self.items), most=_CHUNK)
        for start in range(0, len(checked), num_users):
            part = checked[start : start + num_users]
            supports = [self.support_of(known, ordered=ordered) for known in part]
            scores_BV = score(self.engine, self._vectors(part, supports, exact=exact), supports, drop=drop)
            rankings += top_items(self.engine.trained, scores_BV, supports, n, mask)
        return rankings

    def recommend(  # noqa: PLR0913 - users, items, and options by keyword
        self,
        users: Any,
        n: int = 10,
        *,
        exact: bool | None = None,
        columns: Mapping[str, str] | None = None,
        unknown_items: UnknownItems = "refuse",
        attributes: bool = False,
        candidates: Sequence[ItemId] | None = None,
        exclude: Sequence[ItemId] | None = None,
        filter: Filter | None = None,  # noqa: A002
        drop: Sequence[str] = (),
        ordered: bool = False,
    ) -> pl.DataFrame:
        """Rank for any number of users: a row per user and rank.

        Of a user's events the latest 1,000 are adapted to; items of all of them are left out.

        Args:
            users: A `Dataset`; a frame of events, as `Dataset.from_frames` takes it; a mapping of user ids to
                events, item ids or `Known`; or a list of those, whose users are called 0, 1, 2 ...
            n: Places for each, at least 1.
            exact: As in `adapt`.
            columns: For a frame: our name to its column, such as {"user": "uid", "rating": "stars"}.
            unknown_items: `refuse` events with items that the model was not trained with, or `skip` them
                with a warning that counts them.
            attributes: Tell the model the users' attributes, too, where a `Dataset` has them.
            candidates: As in `rank`.
            exclude: As in `rank`.
            filter: As in `rank`.
            drop: As in `rank`.
            ordered: As in `rank`.

        Returns:
            Columns `user_id`, `item_id`, `title`, `score` and `rank`, 1 the best.

        Raises:
            UnknownNameError, BadInputError: As `adapt_many` and `rank`; the field names the user.
        """
        selection: dict[str, Any] = {"candidates": candidates, "exclude": exclude, "filter": filter}
        selection |= {"drop": drop, "ordered": ordered}
        options = UserOptions(columns=columns, unknown_items=unknown_items, attributes=attributes)
        return recommended(self, users, n, exact=exact, selection=selection, options=options)

    def ask(self, state: UserState, n: int = DEFAULT_ITEMS, *, shown: Sequence[ItemId] = ()) -> Ranking:
        """Return items to ask a user about, most telling first; none of the user's events, none hidden.

        Args:
            state: From `adapt` or `observe` of this model.
            n: Items at most.
            shown: Items that the user was asked about before; without an event they count as not known.

        Raises:
            MismatchError, UnknownNameError, BadInputError: As `rank`.
        """
        check_own(state, self.model_hash)
        marked = [self.index[event.item] for event in state.events]
        asked = positions_of(shown, self.index, field="shown item")
        return screen_of(self._questionnaire, self.engine.trained, n, shown=asked, marked=marked)

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
        check_count(n)
        (position,) = positions_of([item], self.index, field="item")
        mask = self._mask(candidates=candidates, exclude=exclude, filter=filter)
        scores_1V, support, mask = similar_cosines(self.engine.catalogue_VD, position, item, mask)
        return top_items(self.engine.trained, scores_1V, [support], n, mask)[0]

    def hide(self, items: Sequence[ItemId]) -> Personaliser:
        """Return this model with items in no ranking, not even as candidates; users may have them in events.

        Raises:
            UnknownNameError: An item that the model was not trained with.
        """
        indices = positions_of(items, self.index, field="item to hide")
        return replace(self, hidden=self.hidden | {self.items[position] for position in indices})

    def show(self, items: Sequence[ItemId]) -> Personaliser:
        """Return this model with items no longer hidden; as `hide`."""
        indices = positions_of(items, self.index, field="item to show")
        return replace(self, hidden=self.hidden - {self.items[position] for position in indices})

    def save(self, folder: Path | str, *, overwrite: bool = False) -> None:
        """Write the model as a run, for `warmprompt.load` and the commands; what is hidden is not kept.

        Args:
            folder: Of the run; its parents are made.
            overwrite: Replace a run that lies there, and nothing else.

        Raises:
            BadInputError, StorageError: The folder holds something, or cannot be written.
        """
        save_model(Path(folder), self.engine.trained, overwrite=overwrite)

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

    def support_of(self, user: Known | UserState, *, ordered: bool = False) -> Support:
        """Return what is known of a user, checked, as models take it."""
        given: dict[str, Any] = {"about": user.about, "attributes": user.attributes, "ordered": ordered}
        return support_of(user.events, index=self.index, weight_unit=self.weight_unit, **given)

    def checked(self, known: Known) -> Known:
        """Return a user's inputs as they count; errors as `adapt`."""
        trained, now_s = self.engine.trained, self.clock()
        scale, weighted = trained.rating_scale, trained.weight_unit is not None
        checked = checked_known(known, index=self.index, scale=scale, weighted=weighted, now_s=now_s)
        check_text(self.engine, checked.text)
        return checked

    @cached_property
    def _questionnaire(self) -> Questionnaire:
        return make_questionnaire(self.engine, self._mask())

    def _is_linear(self, exact: bool | None) -> bool:  # noqa: FBT001 - passed on as it came
        return self.engine.linear if exact is None else not exact

    def _vectors(self, users: Sequence[Known], supports: Sequence[Support], *, exact: bool | None) -> Tensor:
        texts = [known.text for known in users]
        if self._is_linear(exact):
            return users_linearly(self.engine, texts, supports)
        return adapt_batch(self.engine, encode(self.engine, texts), batch_supports(supports)).users_BD

    def _linear_states(self, users: Sequence[Known]) -> list[UserState]:
        vectors_BD = self._vectors(users, [self.support_of(known) for known in users], exact=False)
        return states_of(users, vectors_BD, model_hash=self.model_hash)

    def _states(self, users: Sequence[Known], texts: EncodedTexts) -> list[UserState]:
        events = batch_supports([self.support_of(known) for known in users])
        adapted = adapt_batch(self.engine, texts, events)
        return states_of(users, adapted.users_BD, adapted.offsets_BPH, model_hash=self.model_hash)

    def _mask(self, **selection: Any) -> Mask | None:
        return Selection(**selection).mask(self.index, self.engine.trained.attributes, self.hidden)
